"""The runtime of SAC-ViT bundles: `SACViT("model.sacvit").predict("image.jpg", eta=0.6)`. Never imports torch."""

from sacvit_deploy.device_answers import DeviceAnswers
from sacvit_deploy.errors import (
    BackendError,
    BundleError,
    CheckpointError,
    ExportError,
    ImageError,
    LabelError,
    OutputError,
    RemoteError,
    RequestError,
    SacvitError,
    UsageError,
)
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.stage_one import StageOne
from sacvit_deploy.stage_two import StageTwo
from sacvit_deploy.stream import Stream

__version__ = "0.1.0"
__all__ = [
    "BackendError",
    "BundleError",
    "CheckpointError",
    "DeviceAnswers",
    "ExportError",
    "ImageError",
    "LabelError",
    "OutputError",
    "Prediction",
    "RemoteError",
    "RequestError",
    "SACViT",
    "SacvitError",
    "StageOne",
    "StageTwo",
    "StageTwoRequest",
    "Stream",
    "UsageError",
    "__version__",
]
