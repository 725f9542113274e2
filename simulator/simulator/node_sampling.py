"""Core node classes of a text-to-image graph: checkpoint, text encoding, latent, sampler, decoder. Nothing is computed."""

import os
import time
import zlib

from . import folder_paths
from . import personality
from . import processing
from .images import Image

MAX_RESOLUTION = 16384
SAMPLERS = (
    "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive "
    "dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde dpmpp_2m_sde_gpu "
    "dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis res_multistep res_multistep_cfg_pp gradient_estimation "
    "ddim uni_pc uni_pc_bh2"
).split()
SCHEDULERS = "normal karras exponential sgm_uniform simple ddim_uniform beta linear_quadratic kl_optimal".split()
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}
if personality.IS_MODERN:
    for _name, _before in (
        ("dpmpp_2m_sde_heun", "dpmpp_3m_sde"),
        ("dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde"),
        ("res_multistep_ancestral", "gradient_estimation"),
        ("res_multistep_ancestral_cfg_pp", "gradient_estimation"),
        *((_late, "ddim") for _late in "gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece".split()),
    ):
        SAMPLERS.insert(SAMPLERS.index(_before), _name)
    SCHEDULERS = "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal".split()
    SEED["control_after_generate"] = True


class Model:
    """A loaded part of a checkpoint, known by file name and role."""

    def __init__(self, name, role):
        self.name, self.role = name, role

    def __repr__(self):
        return "%s of %s" % (self.role, self.name)


class CheckpointLoaderSimple:
    USES_DEVICE = True
    CATEGORY = "loaders"
    DESCRIPTION = "Loads a checkpoint; here only its size is read."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load_checkpoint"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"ckpt_name": (folder_paths.get_filename_list("checkpoints"),)}}

    def load_checkpoint(self, ckpt_name):
        path = folder_paths.get_full_path_or_raise("checkpoints", ckpt_name)
        processing.device.load(path, os.path.getsize(path))
        return tuple(Model(ckpt_name, role) for role in self.RETURN_TYPES)


class CLIPTextEncode:
    USES_DEVICE = True
    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "encode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": ("CLIP",)}}

    def encode(self, text, clip):
        return ([text],)


class EmptyLatentImage:
    CATEGORY = "latent"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "generate"

    @classmethod
    def INPUT_TYPES(cls):
        size = {"default": 512, "min": 16, "max": MAX_RESOLUTION, "step": 8}
        return {
            "required": {
                "width": ("INT", size),
                "height": ("INT", size),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 4096}),
            }
        }

    def generate(self, width, height, batch_size=1):
        return ({"samples": Image(width // 8 * 8, height // 8 * 8, batch_size)},)


class KSampler:
    USES_DEVICE = True
    CATEGORY = "sampling"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL",),
                "seed": ("INT", dict(SEED)),
                "steps": ("INT", {"default": 20, "min": 1, "max": 10000}),
                "cfg": ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}),
                "sampler_name": (SAMPLERS,),
                "scheduler": (SCHEDULERS,),
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "denoise": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            }
        }

    def sample(self, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise=1.0):
        for step in range(steps):
            time.sleep(processing.switches.number("step_ms") / 1000)
            processing.report_progress(step + 1, steps)
        # the picture's colour stands for everything that went into it
        color = zlib.crc32(repr((model, seed, steps, cfg, positive, negative)).encode()) & 0xFFFFFF
        return ({"samples": latent_image["samples"].changed(color=color)},)


class VAEDecode:
    USES_DEVICE = True
    CATEGORY = "latent"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples, vae):
        return (samples["samples"].changed(),)


CLASSES = {
    "CLIPTextEncode": CLIPTextEncode,
    "CheckpointLoaderSimple": CheckpointLoaderSimple,
    "EmptyLatentImage": EmptyLatentImage,
    "KSampler": KSampler,
    "VAEDecode": VAEDecode,
}
DISPLAY_NAMES = {
    "CLIPTextEncode": "CLIP Text Encode (Prompt)",
    "CheckpointLoaderSimple": "Load Checkpoint",
    "EmptyLatentImage": "Empty Latent Image",
    "VAEDecode": "VAE Decode",
}
