"""The errors of this package. Each message names the value, what was accepted, and what to do."""


class LwsegError(Exception):
    """Anything this package raises on purpose."""


class UsageError(LwsegError):
    """Options of a command make no sense, or not together: exit code 2."""


class ModelFileError(LwsegError):
    """A model file is missing, corrupt, foreign or at odds with itself."""


class BackendError(LwsegError):
    """A runtime failed while building or running a model."""


class BackendUnavailableError(BackendError):
    """A runtime, or the device it needs, is not on this machine."""


class BackendLostError(BackendError):
    """A runtime's device is lost to this process: only another process can use it again."""


class ImageError(LwsegError):
    """An image message or an image file cannot be used."""


class BagError(LwsegError):
    """A bag, or a topic in it, cannot be used."""


class CalibrationError(LwsegError):
    """A camera's calibration cannot be used."""


class DatasetError(LwsegError):
    """A data set folder is not what it should be."""


class RecipeError(LwsegError):
    """A training recipe, or an override of one, makes no sense."""


class RecipeWarning(UserWarning):
    """An override of a recipe does more than it may be meant to; for the user, who can write another."""


class PointCloudError(LwsegError):
    """A point cloud cannot be used."""


class TransformError(LwsegError):
    """How one frame lies in another at some time is not known."""
