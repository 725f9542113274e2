"""Runs a program and ends it with SIGKILL just before its n-th step: `kill-at-step.py N REPORT REGEX COMMAND…`. N = 0: it runs
to its end. REPORT gets {"steps": […], "killedAt": step or null, "code": exit status or null}.

A step is a system call that changes a file whose path the regular expression matches, or the start of another program, and the
moment after that start. Programs that it starts are not traced and live on. Of x86-64 only."""
import ctypes, json, os, re, signal, sys

TRACEME, CONT_SYSCALL, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 0x4200, 0x420E
# Stops of system calls tell themselves from signals; threads are followed, and all end with this program.
OPTIONS = 0x1 | 0x8 | 0x10 | 0x100000
WALL = 0x40000000
ENTRY, EXIT = 1, 2
O_CREAT, CLONE_THREAD, FICLONE = 0o100, 0x10000, 0x40049409
# Number of the call, its name, and which arguments name files: by path, or by descriptor.
CALLS = {
    1: ("write", (), 0), 18: ("write", (), 0), 20: ("write", (), 0), 40: ("sendfile", (), 0), 326: ("copy_file_range", (), 2),
    16: ("clone of a file", (), 0), 74: ("fsync", (), 0), 75: ("fsync", (), 0), 77: ("truncate", (), 0), 91: ("chmod", (), 0),
    93: ("chown", (), 0), 2: ("create", (0,), None), 257: ("create", (1,), None), 82: ("rename", (0, 1), None),
    264: ("rename", (1, 3), None), 316: ("rename", (1, 3), None), 86: ("link", (0, 1), None), 265: ("link", (1, 3), None),
    87: ("remove", (0,), None), 263: ("remove", (1,), None), 90: ("chmod", (0,), None), 268: ("chmod", (1,), None),
    92: ("chown", (0,), None), 94: ("chown", (0,), None), 260: ("chown", (1,), None),
}
SPAWNS = (56, 57, 58)

class SyscallInfo(ctypes.Structure):
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64),
                ("sp", ctypes.c_uint64), ("nr", ctypes.c_uint64), ("args", ctypes.c_uint64 * 6)]

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
info = SyscallInfo()

def ptrace(request, tid, address=None, data=None):
    if libc.ptrace(request, tid, address, data) < 0:
        error = ctypes.get_errno()
        if error != 3:  # A thread that has just ended.
            raise OSError(error, os.strerror(error))

def text_at(pid, address):
    try:
        with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(4096).split(b"\0")[0].decode("latin1")
    except OSError:
        # Less than that is mapped there.
        with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(4096 - address % 4096).split(b"\0")[0].decode("latin1")

def path_of(pid, descriptor):
    try:
        return os.readlink("/proc/%d/fd/%d" % (pid, descriptor))
    except OSError:
        return ""

def step_of(pid, pattern):
    """What the call that is about to be made would change, in words; None: nothing of interest."""
    number, args = info.nr, info.args
    if number in SPAWNS:
        return None if number == 56 and args[0] & CLONE_THREAD else "start of a program"
    if number not in CALLS:
        return None
    name, paths, descriptor = CALLS[number]
    if (number == 2 and not args[1] & O_CREAT) or (number == 257 and not args[2] & O_CREAT) or (number == 16 and args[1] != FICLONE):
        return None
    named = [text_at(pid, args[each]) for each in paths] if descriptor is None else [path_of(pid, args[descriptor])]
    return "%s %s" % (name, " ".join(named)) if any(pattern.search(each) for each in named) else None

def trace(child, stop_at, pattern):
    steps, known, spawning = [], set(), set()
    while True:
        tid, status = os.waitpid(-1, WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if tid == child:
                return steps, None, os.waitstatus_to_exitcode(status)
            continue
        sent = os.WSTOPSIG(status)
        step = None
        if tid not in known:
            known.add(tid)
            if tid == child:
                ptrace(SETOPTIONS, tid, None, OPTIONS)
            sent = 0
        elif sent == signal.SIGTRAP | 0x80:
            sent = 0
            ptrace(GET_SYSCALL_INFO, tid, ctypes.sizeof(info), ctypes.addressof(info))
            if info.op == ENTRY:
                step = step_of(child, pattern)
                if step == "start of a program":
                    spawning.add(tid)
            elif tid in spawning:
                spawning.discard(tid)
                step = "a program runs"
        elif status >> 16:
            sent = 0
        if step is not None:
            steps.append(step)
            if len(steps) == stop_at:
                os.kill(child, signal.SIGKILL)
                while os.waitpid(-1, WALL)[0] != child:
                    pass
                return steps, step, None
        ptrace(CONT_SYSCALL, tid, None, sent)

def main(stop_at, report, pattern, *command):
    child = os.fork()
    if child == 0:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execv(command[0], command)
    steps, killed_at, code = trace(child, int(stop_at), re.compile(pattern))
    with open(report, "w") as stream:
        json.dump({"steps": steps, "killedAt": killed_at, "code": code}, stream)

main(*sys.argv[1:])
