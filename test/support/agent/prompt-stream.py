"""Prompts without end to the ports named, one after the other on each; ends when the file named first is gone, and then says how many were done and what became of the others.

With --ask FILE each prompt is asked for as a worker does: of an instance that the discovery document of that name calls ready; a
prompt that no instance took goes to the next one. What was taken must end: in the history, or, where the instance went after it,
as the file that it was to write."""
import argparse, glob, itertools, json, os, threading, time, urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--ask")
parser.add_argument("flag")
parser.add_argument("ports", nargs="+")
options = parser.parse_args()
OUTPUTS = "/workspace/shared/outputs"
done, lost, refused = [], [], []
numbers = itertools.count(1)

def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)

def submit(base, name, number):
    image = {"width": 64, "height": 64, "batch_size": 1, "color": number}
    save = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    if options.ask:
        save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": name}}
    graph = {"1": {"class_type": "EmptyImage", "inputs": image}, "2": save}
    return ask(base + "/prompt", {"prompt": graph, "client_id": "stream"})["prompt_id"]

def outcome(base, prompt):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        entry = ask(base + "/history/" + prompt).get(prompt)
        if entry is not None:
            return entry["status"]["status_str"]
        time.sleep(0.02)
    return "no end"

def is_written(name):
    return any(os.path.getsize(path) > 0 for path in glob.glob(OUTPUTS + "/*/" + name + "_*.png"))

def is_ready(port):
    with open(options.ask) as stream:
        return any(each["ready"] and each["port"] == int(port) for each in json.load(stream)["instances"])

def one(port):
    number = next(numbers)
    base, name = "http://127.0.0.1:" + port, "stream%06d" % number
    try:
        prompt = submit(base, name, number)
    except OSError as error:
        # Without a number of its own the worker sends it to the next one.
        if not options.ask:
            raise
        refused.append(repr(error))
        return None
    try:
        return outcome(base, prompt)
    except OSError as error:
        if options.ask and is_written(name):
            return "success"
        raise error

def lane(port):
    while os.path.exists(options.flag):
        if options.ask and not is_ready(port):
            time.sleep(0.02)
            continue
        try:
            result = one(port)
        except Exception as error:
            result = repr(error)
        if result is not None:
            (done if result == "success" else lost).append(result)

lanes = [threading.Thread(target=lane, args=(port,)) for port in options.ports]
for each in lanes:
    each.start()
for each in lanes:
    each.join()
print(json.dumps({"done": len(done), "lost": lost, "refused": len(refused)}))
