"""The HTTP surface for files: pictures to look at, uploads, model metadata, directory listings."""

import json
import mimetypes
import os
import struct

from . import folder_paths
from . import multipart
from . import personality
from .http_messages import Response, json_response

FORCED_DOWNLOADS = {".html", ".htm", ".js", ".css"}
MAX_SAFETENSORS_HEADER = 1024 * 1024


def register(http):
    http.add("GET", "/view", view)
    http.add("GET", "/view_metadata/{folder}", view_metadata)
    http.add("POST", "/upload/image", upload)
    http.add("POST", "/upload/mask", upload)
    if personality.HAS_BASE_DIRECTORY:
        http.add("GET", "/internal/files/{type}", list_files)


def _is_inside(directory, path):
    return os.path.commonpath((os.path.abspath(directory), os.path.abspath(path))) == os.path.abspath(directory)


def view(request):
    """A file of the output, input or temp directory, always as it is: previews and channels are not converted."""
    if "filename" not in request.query:
        return Response(status=404)
    filename, directory = folder_paths.annotated_filepath(request.query["filename"])
    if not filename or filename.startswith("/") or ".." in filename:
        return Response(status=400)
    directory = directory or folder_paths.get_directory_by_type(request.query.get("type", "output"))
    if directory is None:
        return Response(status=400)
    folder = os.path.join(directory, request.query.get("subfolder", ""))
    if not _is_inside(directory, folder):
        return Response(status=403)
    path = os.path.join(folder, os.path.basename(filename))
    if not os.path.isfile(path):
        return Response(status=404)
    with open(path, "rb") as stream:
        data = stream.read()
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if os.path.splitext(path)[1].lower() in FORCED_DOWNLOADS:
        kind = "application/octet-stream"
    safe_name = os.path.basename(path).encode("ascii", "replace").decode().replace('"', "'")
    return Response(data, content_type=kind, headers={"Content-Disposition": 'filename="%s"' % safe_name})


def view_metadata(request, folder):
    filename = request.query.get("filename", "")
    path = folder_paths.get_full_path(folder, filename) if filename.endswith(".safetensors") else None
    if path is None:
        return Response(status=404)
    with open(path, "rb") as stream:
        head = stream.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else MAX_SAFETENSORS_HEADER + 1
        header = json.loads(stream.read(size)) if size <= MAX_SAFETENSORS_HEADER else {}
    return json_response(header["__metadata__"]) if "__metadata__" in header else Response(status=404)


def _free_name(folder, filename, content):
    """A name that does not overwrite another picture, and whether the same picture is already there."""
    stem, extension = os.path.splitext(filename)
    name, number = filename, 1
    while os.path.exists(os.path.join(folder, name)):
        with open(os.path.join(folder, name), "rb") as stream:
            if stream.read() == content:
                return name, True
        name = "%s (%d)%s" % (stem, number, extension)
        number += 1
    return name, False


def upload(request):
    """Store an uploaded picture; its bytes are not looked at. A mask is stored like any picture."""
    parts = multipart.parse(request.headers.get("content-type", ""), request.body)
    fields = {name: part.text for name, part in parts.items() if part.filename is None}
    image = parts.get("image")
    if image is None or not image.filename:
        return Response(status=400)
    kind, subfolder = fields.get("type", "input"), fields.get("subfolder", "")
    directory = folder_paths.get_directory_by_type(kind)
    folder = os.path.join(directory, os.path.normpath(subfolder))
    if not _is_inside(directory, os.path.join(folder, image.filename)):
        return Response(status=400)
    os.makedirs(folder, exist_ok=True)
    name, is_there = image.filename, False
    if fields.get("overwrite") not in ("true", "1"):
        name, is_there = _free_name(folder, image.filename, image.content)
    if not is_there:
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(image.content)
    return json_response({"name": name, "subfolder": subfolder, "type": kind})


def list_files(request, kind):
    directory = folder_paths.get_directory_by_type(kind)
    if directory is None:
        return json_response({"error": "Invalid directory type"}, 400)
    files = sorted((entry for entry in os.scandir(directory) if entry.is_file()), key=lambda entry: -entry.stat().st_mtime)
    return json_response([entry.name for entry in files])
