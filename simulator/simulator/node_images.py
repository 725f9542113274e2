"""Core node classes that make, change, load and save pictures."""

import json
import os
import random

from . import folder_paths
from . import processing
from .images import Image, encode_png, read_image

MAX_RESOLUTION = 16384
SIZE = {"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 1}


class EmptyImage:
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "width": ("INT", dict(SIZE)),
                "height": ("INT", dict(SIZE)),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
                "color": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFF, "step": 1, "display": "color"}),
            }
        }

    def generate(self, width, height, batch_size=1, color=0):
        return (Image(width, height, batch_size, color),)


class ImageInvert:
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "invert"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def invert(self, image):
        return (image.changed(color=0xFFFFFF - image.color),)


class ImageBlur:
    """Blurring one colour changes nothing, but this is a node that works on the device."""

    USES_DEVICE = True
    CATEGORY = "image/postprocessing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "blur"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "image": ("IMAGE",),
                "blur_radius": ("INT", {"default": 1, "min": 1, "max": 31, "step": 1}),
                "sigma": ("FLOAT", {"default": 1.0, "min": 0.1, "max": 10.0, "step": 0.1}),
            }
        }

    def blur(self, image, blur_radius, sigma):
        return (image.changed(),)


class ImageScale:
    METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
    CROPS = ["disabled", "center"]
    CATEGORY = "image/upscaling"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "upscale"

    @classmethod
    def INPUT_TYPES(cls):
        size = {**SIZE, "min": 0}
        return {
            "required": {
                "image": ("IMAGE",),
                "upscale_method": (cls.METHODS,),
                "width": ("INT", size),
                "height": ("INT", size),
                "crop": (cls.CROPS,),
            }
        }

    def upscale(self, image, upscale_method, width, height, crop):
        if width == 0 and height == 0:
            return (image,)
        width = width or max(1, round(image.width * height / image.height))
        height = height or max(1, round(image.height * width / image.width))
        return (image.changed(width=width, height=height),)


class SaveImage:
    CATEGORY = "image"
    DESCRIPTION = "Saves the pictures to the output directory."
    RETURN_TYPES = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True

    kind = "output"
    compress_level = 4
    prefix_append = ""

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def save_images(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        directory = folder_paths.get_directory_by_type(self.kind)
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix + self.prefix_append, directory, images.width, images.height
        )
        texts = {}
        if not processing.disable_metadata:
            if prompt is not None:
                texts["prompt"] = json.dumps(prompt)
            texts.update({key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()})
        data = encode_png(images, texts, self.compress_level)
        results = []
        for number in range(len(images)):
            filename = "%s_%05d_.png" % (name.replace("%batch_num%", str(number)), counter + number)
            with open(os.path.join(folder, filename), "wb") as stream:
                stream.write(data)
            results.append({"filename": filename, "subfolder": subfolder, "type": self.kind})
        return {"ui": {"images": results}}


class PreviewImage(SaveImage):
    DESCRIPTION = ""
    kind = "temp"
    compress_level = 1

    def __init__(self):
        self.prefix_append = "_temp_" + "".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(5))

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}


class LoadImage:
    CATEGORY = "image"
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls):
        directory = folder_paths.get_input_directory()
        names = [name for name in os.listdir(directory) if os.path.isfile(os.path.join(directory, name))]
        return {"required": {"image": (sorted(names), {"image_upload": True})}}

    @classmethod
    def IS_CHANGED(cls, image):
        status = os.stat(folder_paths.get_annotated_filepath(image))
        return "%d %d" % (status.st_size, status.st_mtime_ns)

    @classmethod
    def VALIDATE_INPUTS(cls, image):
        if not folder_paths.exists_annotated_filepath(image):
            return "Invalid image file: {}".format(image)
        return True

    def load_image(self, image):
        picture = read_image(folder_paths.get_annotated_filepath(image))
        return (picture, picture.changed(color=0))


CLASSES = {
    "EmptyImage": EmptyImage,
    "ImageBlur": ImageBlur,
    "ImageInvert": ImageInvert,
    "ImageScale": ImageScale,
    "LoadImage": LoadImage,
    "PreviewImage": PreviewImage,
    "SaveImage": SaveImage,
}
DISPLAY_NAMES = {
    "ImageBlur": "Image Blur",
    "ImageInvert": "Invert Image",
    "ImageScale": "Upscale Image",
    "LoadImage": "Load Image",
    "PreviewImage": "Preview Image",
    "SaveImage": "Save Image",
}
