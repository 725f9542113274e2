"""Prompts without end to the ports named, one after the other on each; ends when the file named first is gone, and then says how many were done and what became of the others."""
import json, os, sys, threading, time, urllib.request

flag, ports = sys.argv[1], sys.argv[2:]
done, lost = [], []

def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)

def one(base, color):
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": color}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    prompt = ask(base + "/prompt", {"prompt": graph, "client_id": "stream"})["prompt_id"]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        entry = ask(base + "/history/" + prompt).get(prompt)
        if entry is not None:
            return entry["status"]["status_str"]
        time.sleep(0.02)
    return "no end"

def lane(port):
    color = 0
    while os.path.exists(flag):
        color += 1
        try:
            result = one("http://127.0.0.1:" + port, color)
        except Exception as error:
            result = repr(error)
        (done if result == "success" else lost).append(result)

lanes = [threading.Thread(target=lane, args=(port,)) for port in ports]
for each in lanes:
    each.start()
for each in lanes:
    each.join()
print(json.dumps({"done": len(done), "lost": lost}))
