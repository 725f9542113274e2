/** The packs of predecessor-packs.ts as data. */

export interface PackRecipe {
  readonly name: string;
  /** Lines of requirements.txt, as authors write them; none: there is no such file. */
  readonly requirements: readonly string[];
  /** Modules that its __init__.py imports. */
  readonly imports: readonly string[];
  readonly special?:
    | 'submodule'
    | 'lfs'
    | 'git-clone-prefix'
    | 'custom-script'
    | 'torch-swapper'
    | 'install-py'
    | 'broken-import'
    | 'include'
    | 'pinned';
}

const pack = (name: string, requirements: readonly string[], imports: readonly string[], special?: PackRecipe['special']): PackRecipe =>
  special === undefined ? { name, requirements, imports } : { name, requirements, imports, special };

/**
 * Requirement lines as node packs have them: the same twenty packages over and over, each in ranges of the author's own, a few
 * that nobody else wants, comments, markers and extras. Everything is on PyPI as a wheel; torch is left out but for one.
 * The special ones stand first, so that a short list has them too.
 */
export const RECIPES: readonly PackRecipe[] = [
  pack(
    'node-manager',
    ['GitPython', 'PyGithub', 'matrix-client==0.4.0', 'huggingface-hub>0.20', 'typer', 'rich', 'typing-extensions', 'toml', 'chardet'],
    ['git', 'typer', 'chardet'],
    'git-clone-prefix',
  ),
  pack(
    'impact-tools',
    ['scikit-image', 'piexif', 'opencv-python-headless', 'scipy', 'numpy<3', 'dill', 'matplotlib'],
    ['skimage', 'cv2', 'piexif'],
    'submodule',
  ),
  pack('torch-swapper', ['torch==2.0.1+stub', 'tqdm'], ['tqdm'], 'torch-swapper'),
  pack('math-one', ['simpleeval==0.9.13'], ['simpleeval']),
  pack('math-two', ['simpleeval>=1.0'], []),
  pack('installs-itself', ['requests'], ['requests'], 'install-py'),
  pack('fails-to-import', ['tqdm'], ['a_module_that_nobody_has'], 'broken-import'),
  pack('upscale-models', ['# weights come with git lfs', 'requests', 'tqdm>=4.60'], ['tqdm'], 'lfs'),
  pack('video-helper', ['opencv-python-headless', 'imageio>=2.31'], ['cv2', 'imageio'], 'pinned'),
  pack('workspace-scripts', ['aiofiles', 'pyyaml'], ['yaml'], 'custom-script'),
  pack('nested-requirements', ['-r requirements/base.txt', 'addict'], ['addict', 'yaml'], 'include'),
  pack(
    'controlnet-aux',
    [
      'importlib_metadata',
      'huggingface_hub',
      'scipy',
      'opencv-python-headless>=4.7.0.72',
      'filelock',
      'numpy',
      'Pillow',
      'einops',
      'pyyaml',
      'scikit-image',
      'python-dateutil',
      'fvcore; python_version < "3.5"',
      'yapf',
      'omegaconf',
      'addict',
      'matplotlib',
    ],
    ['scipy', 'cv2', 'omegaconf'],
  ),
  pack('essentials', ['numba; python_version < "3.5"', 'colour-science', 'pixeloe; python_version < "3.5"', 'numpy'], ['numpy']),
  pack(
    'easy-use',
    [
      'accelerate; python_version < "3.5"',
      'clip_interrogator; python_version < "3.5"',
      'onnxruntime; python_version < "3.5"',
      'lark',
      'diskcache',
      'peewee',
    ],
    ['lark', 'diskcache'],
  ),
  pack(
    'kj-helpers',
    ['pillow>=10.3.0', 'scipy', 'color-matcher', 'matplotlib', 'huggingface_hub', 'mss', 'opencv-python-headless'],
    ['PIL', 'scipy', 'mss'],
  ),
  pack('segment-anything', ['addict', 'yapf', 'timm; python_version < "3.5"'], ['addict']),
  pack('image-filters', ['opencv-python-headless', 'blend_modes', 'numpy>=1.24'], ['cv2', 'numpy']),
  pack(
    'layer-style',
    ['numpy', 'pillow', 'scipy', 'opencv-python-headless', 'scikit-learn; python_version < "3.5"', 'loguru', 'blend_modes'],
    ['loguru'],
  ),
  pack('art-gallery', ['requests', 'tqdm'], ['requests']),
  pack('crop-and-stitch', [], []),
  pack('various', ['numpy', 'pillow>=9'], ['PIL']),
  pack('animated-diff', [], []),
  pack(
    'frame-interpolation',
    ['numpy', 'einops', 'packaging', 'pyyaml', 'scipy', 'tqdm', 'opencv-python-headless'],
    ['einops', 'packaging'],
  ),
  pack('advanced-control', [], []),
  pack('prompt-styles', ['pyyaml>=5.4'], ['yaml']),
  pack('rgb-nodes', [], []),
  pack('logic-nodes', [], []),
  pack('text-tools', ['regex', 'ftfy', 'wcwidth'], ['regex', 'ftfy']),
  pack('tokens', ['lark>=1.1', 'regex>=2023.0'], ['lark']),
  pack('face-tools', ['opencv-python-headless>=4.7', 'numpy>=1.25', 'tqdm'], ['cv2']),
  pack('portrait', ['numpy>=1.26.4', 'pyyaml>=6.0.1', 'opencv-python-headless>=4.8', 'rich>=13.7', 'typer>=0.9'], ['rich', 'typer']),
  pack('depth', ['einops', 'huggingface_hub', 'matplotlib', 'numpy'], ['einops']),
  pack('audio-tools', ['soundfile', 'numpy'], ['soundfile']),
  pack('speech', ['soundfile>=0.12', 'scipy>=1.10'], ['soundfile']),
  pack('three-d', ['trimesh', 'numpy', 'networkx', 'shapely'], ['trimesh', 'shapely']),
  pack('mesh-tools', ['trimesh[easy]; python_version < "3.5"', 'trimesh>=4'], ['trimesh']),
  pack('vector', ['svgwrite', 'fonttools', 'shapely>=2'], ['svgwrite', 'fontTools']),
  pack('cloud-storage', ['boto3', 'azure-storage-blob', 'python-dotenv'], ['boto3', 'dotenv']),
  pack('object-store', ['boto3>=1.28', 'requests>=2.31'], ['boto3']),
  pack('llm-party', ['openai>=1.0', 'httpx', 'pydantic>=2', 'jinja2'], ['openai', 'jinja2']),
  pack('ollama-nodes', ['ollama', 'requests'], ['ollama']),
  pack('web-requests', ['aiohttp>=3.8', 'beautifulsoup4', 'lxml'], ['aiohttp', 'bs4']),
  pack('browser', ['requests[socks]', 'cachetools'], ['requests', 'cachetools']),
  pack('metadata', ['piexif', 'pillow'], ['piexif']),
  pack('save-image-extended', ['piexif==1.1.3', 'imagesize'], ['piexif', 'imagesize']),
  pack('image-saver', ['piexif>=1.1', 'pillow', 'numpy'], ['piexif']),
  pack('colour-match', ['color-matcher>=0.6', 'numpy'], ['color_matcher']),
  pack('masks', ['scikit-image>=0.20', 'numpy'], ['skimage']),
  pack('noise', ['scipy', 'numpy', 'opensimplex; python_version < "3.5"'], ['scipy']),
  pack('tables', ['pandas', 'openpyxl'], ['pandas', 'openpyxl']),
  pack('statistics', ['pandas>=2', 'matplotlib>=3.7'], ['pandas']),
  pack('expressions', ['numexpr', 'sympy'], ['numexpr', 'sympy']),
  pack('monitor', ['psutil', 'py-cpuinfo', 'nvidia-ml-py'], ['psutil', 'cpuinfo']),
  pack('watch-folder', ['watchdog', 'filelock>=3'], ['watchdog']),
  pack('json-tools', ['jsonschema', 'pyyaml', 'jsonpath-ng'], ['jsonschema', 'jsonpath_ng']),
  pack('templates', ['jinja2>=3', 'markdown', 'pyyaml'], ['jinja2', 'markdown']),
  pack('scheduler', ['croniter', 'python-dateutil', 'pytz'], ['croniter', 'pytz']),
  pack('config-files', ['omegaconf>=2.3', 'toml', 'pyyaml'], ['omegaconf', 'toml']),
  pack('barcodes', ['qrcode[pil]', 'pillow>=9.1'], ['qrcode']),
  pack('palette', ['webcolors', 'colour-science>=0.4', 'pillow'], ['webcolors']),
];

/** requirements.txt of the core: what ComfyUI asks for, without what needs torch. */
export const CORE_REQUIREMENTS: readonly string[] = [
  'torch',
  'numpy>=1.25.0',
  'einops',
  'safetensors>=0.4.2',
  'aiohttp>=3.11.8',
  'yarl>=1.18.0',
  'pyyaml',
  'Pillow',
  'scipy',
  'tqdm',
  'psutil',
  'alembic',
  'SQLAlchemy',
  'pydantic~=2.0',
  'pydantic-settings~=2.0',
];
