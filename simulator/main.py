"""Entry point, started with the same command line as ComfyUI: python3 -u main.py --port 8188 ..."""

from simulator.startup import run

if __name__ == "__main__":
    run()
