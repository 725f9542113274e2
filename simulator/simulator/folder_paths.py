"""Where models, packs, inputs and outputs are looked for. Node packs see this module as `folder_paths`."""

import logging
import os
import time

from . import personality
from . import yaml_subset

checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
base_path = checkout
models_dir = os.path.join(base_path, "models")

supported_pt_extensions = {".ckpt", ".pt", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
LEGACY_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
CATEGORIES = (
    "checkpoints configs loras vae text_encoders diffusion_models clip_vision style_models embeddings diffusers "
    "vae_approx controlnet gligen upscale_models custom_nodes hypernetworks photomaker classifiers"
).split()
SEVERAL_FOLDERS = {
    "text_encoders": ["text_encoders", "clip"],
    "diffusion_models": ["unet", "diffusion_models"],
    "controlnet": ["controlnet", "t2i_adapter"],
}
OTHER_EXTENSIONS = {"configs": {".yaml"}, "diffusers": {"folder"}, "custom_nodes": set(), "classifiers": {""}}

# category -> ([directories], {file extensions}); an empty set means any file
folder_names_and_paths = {}
output_directory = temp_directory = input_directory = user_directory = ""


def use_base_directory(directory):
    """(Re)build every default below one directory."""
    global base_path, models_dir, output_directory, temp_directory, input_directory, user_directory
    base_path = os.path.abspath(directory)
    models_dir = os.path.join(base_path, "models")
    output_directory, temp_directory, input_directory, user_directory = (
        os.path.join(base_path, name) for name in ("output", "temp", "input", "user")
    )
    folder_names_and_paths.clear()
    for category in CATEGORIES + (["model_patches", "audio_encoders"] if personality.IS_MODERN else []):
        folders = [os.path.join(models_dir, name) for name in SEVERAL_FOLDERS.get(category, [category])]
        if category == "custom_nodes":
            folders = [os.path.join(base_path, "custom_nodes")]
        folder_names_and_paths[category] = (folders, OTHER_EXTENSIONS.get(category, supported_pt_extensions))


use_base_directory(checkout)


def map_legacy(folder_name):
    return LEGACY_NAMES.get(folder_name, folder_name)


def add_model_folder_path(folder_name, full_folder_path, is_default=False):
    paths = folder_names_and_paths.setdefault(map_legacy(folder_name), ([], set()))[0]
    if full_folder_path in paths:
        if not is_default:
            return
        paths.remove(full_folder_path)
    paths.insert(0 if is_default else len(paths), full_folder_path)


def load_extra_path_config(yaml_path):
    """Add what an extra_model_paths file names. Anything unexpected in it ends start-up with a traceback."""
    with open(yaml_path, encoding="utf-8") as stream:
        config = yaml_subset.load(stream.read())
    yaml_dir = os.path.dirname(os.path.abspath(yaml_path))
    for section in config:
        entries = config[section]
        if entries is None:
            continue
        root = entries.pop("base_path", None)
        if root:
            root = os.path.join(yaml_dir, os.path.expandvars(os.path.expanduser(root)))
        is_default = entries.pop("is_default", False)
        for category, folders in entries.items():
            for folder in filter(None, folders.split("\n")):
                path = os.path.join(root or yaml_dir, folder)
                if personality.HAS_BASE_DIRECTORY or not os.path.isabs(folder):
                    path = os.path.normpath(path)
                logging.info("Adding extra search path %s %s", category, path)
                add_model_folder_path(category, path, is_default)


def get_output_directory():
    return output_directory


def get_temp_directory():
    return temp_directory


def get_input_directory():
    return input_directory


def get_user_directory():
    return user_directory


def get_directory_by_type(type_name):
    return {"output": output_directory, "temp": temp_directory, "input": input_directory}.get(type_name)


def annotated_filepath(name):
    """'picture.png [output]' -> ('picture.png ', output directory), as ComfyUI cuts it; no annotation gives None."""
    for kind in ("output", "input", "temp"):
        if name.endswith("[%s]" % kind):
            return name[: -len(kind) - 3], get_directory_by_type(kind)
    return name, None


def get_annotated_filepath(name):
    name, directory = annotated_filepath(name)
    return os.path.join(directory or input_directory, name)


def exists_annotated_filepath(name):
    return os.path.exists(get_annotated_filepath(name))


def get_folder_paths(folder_name):
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def get_filename_list(folder_name):
    """Model files of a category, relative to their directories, sorted."""
    folders, extensions = folder_names_and_paths[map_legacy(folder_name)]
    found = set()
    for folder in folders:
        for directory, subfolders, names in os.walk(folder, followlinks=True):
            subfolders[:] = [name for name in subfolders if name != ".git"]
            for name in names:
                if not extensions or os.path.splitext(name)[1].lower() in extensions:
                    found.add(os.path.relpath(os.path.join(directory, name), folder))
    return sorted(found)


def get_full_path(folder_name, filename):
    inside = os.path.relpath(os.path.join("/", filename), "/")
    for folder in folder_names_and_paths.get(map_legacy(folder_name), ([], set()))[0]:
        path = os.path.join(folder, inside)
        if os.path.isfile(path):
            return path
    return None


def get_full_path_or_raise(folder_name, filename):
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError("Model in folder '%s' with filename '%s' not found." % (folder_name, filename))
    return path


def get_save_image_path(filename_prefix, output_dir, image_width=0, image_height=0):
    """(folder, name, next counter, subfolder, prefix) for a new image; the counter is one above the highest there."""
    now = time.localtime()
    fields = {"width": image_width, "height": image_height, "year": now.tm_year}
    fields.update({key: str(value).zfill(2) for key, value in zip(("month", "day", "hour", "minute", "second"), now[1:6])})
    for key, value in fields.items():
        filename_prefix = filename_prefix.replace("%" + key + "%", str(value))
    subfolder, filename = os.path.split(os.path.normpath(filename_prefix))
    folder = os.path.join(output_dir, subfolder)
    if os.path.commonpath((output_dir, os.path.abspath(folder))) != output_dir:
        logging.error("**** ERROR: Saving image outside the output folder is not allowed.")
        raise Exception("**** ERROR: Saving image outside the output folder is not allowed.\n full_output_folder: " + os.path.abspath(folder))
    os.makedirs(folder, exist_ok=True)
    counter = 0
    for name in os.listdir(folder):
        if name.startswith(filename + "_"):
            digits = name[len(filename) + 1 :].split("_")[0]
            counter = max(counter, int(digits) if digits.isdigit() else 0)
    return folder, filename, counter + 1, subfolder, filename_prefix
