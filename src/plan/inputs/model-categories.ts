/**
 * ComfyUI's folders for models (folder_paths.py, reference comfyui.md section 6): category -> folders below the models
 * directory that it searches, the first one being where new files belong.
 */
export const MODEL_CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  checkpoints: ['checkpoints'],
  configs: ['configs'],
  loras: ['loras'],
  vae: ['vae'],
  text_encoders: ['text_encoders', 'clip'],
  diffusion_models: ['diffusion_models', 'unet'],
  clip_vision: ['clip_vision'],
  style_models: ['style_models'],
  embeddings: ['embeddings'],
  diffusers: ['diffusers'],
  vae_approx: ['vae_approx'],
  controlnet: ['controlnet', 't2i_adapter'],
  gligen: ['gligen'],
  upscale_models: ['upscale_models'],
  hypernetworks: ['hypernetworks'],
  photomaker: ['photomaker'],
  classifiers: ['classifiers'],
  model_patches: ['model_patches'],
  audio_encoders: ['audio_encoders'],
};

/** Names of the past; ComfyUI still maps them. */
const LEGACY_CATEGORIES: Readonly<Record<string, string>> = { unet: 'diffusion_models', clip: 'text_encoders' };

/** Folders below the models directory where a file of the category may lie; an unknown category is a folder of that name. */
export function categoryFolders(category: string): readonly string[] {
  const current = Object.hasOwn(LEGACY_CATEGORIES, category) ? (LEGACY_CATEGORIES[category] ?? category) : category;
  return Object.hasOwn(MODEL_CATEGORIES, current) ? (MODEL_CATEGORIES[current] ?? [current]) : [current];
}
