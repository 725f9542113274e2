"""A stand-in for ComfyUI: same command line, HTTP and WebSocket surface, log lines and ways to fail; no models, no torch."""
