"""Image features on disk: extracted once by a frozen tower (``extract``), read by id in training (``open_store``).

    >>> extract(images_at("pets"), load_eyes("mini-vit"), "features/pets")
    >>> open_store("features/pets")["cats/1"].shape
    torch.Size([64, 128])
"""

from inarch.features.extraction import Extraction, extract
from inarch.features.frames import clip
from inarch.features.images import images_at
from inarch.features.opening import open_store
from inarch.features.store import FeatureStore

__all__ = ["Extraction", "FeatureStore", "clip", "extract", "images_at", "open_store"]
