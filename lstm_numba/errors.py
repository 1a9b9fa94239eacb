"""Errors: one class per situation, each also the closest builtin, so that `except ValueError` works too."""


class LstmNumbaError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(LstmNumbaError, ValueError):
    """An array has another rank or size than the layer's other arrays imply."""


class DtypeError(LstmNumbaError, TypeError):
    """An array holds another number type than the layer."""


class ArgumentError(LstmNumbaError, TypeError):
    """An argument is of the wrong kind, is missing, or is not one of the layer's."""


class UnknownNameError(LstmNumbaError, KeyError):
    """A parameter of this name is not among the layer's."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


class OptionError(LstmNumbaError, ValueError):
    """An option or a size has a value that the cell does not offer."""


class UnknownCellError(LstmNumbaError, ValueError):
    """No generated cell has this name."""


class SizeError(LstmNumbaError, ValueError):
    """The arrays asked for are larger than an index can count."""


class TapeError(LstmNumbaError, RuntimeError):
    """A backward was asked of a run that kept nothing for it."""


class FixedParametersError(LstmNumbaError, RuntimeError):
    """Parameters were changed in a block that says they are not."""


class CudaUnavailableError(LstmNumbaError, RuntimeError):
    """A CUDA device was asked for, and the package, the driver or the device for it is missing."""


class CudaMemoryError(LstmNumbaError, MemoryError):
    """What a run needs is more than the device has free."""


class NonFiniteGradientError(LstmNumbaError, FloatingPointError):
    """A gradient holds NaN or infinity, so no step can be taken along it."""


class GradientNamesError(LstmNumbaError, ValueError):
    """The gradients are not those of the parameters that the optimiser was made for."""


class CheckpointError(LstmNumbaError, ValueError):
    """A file is not a checkpoint, is damaged, or belongs to another model."""


class CheckpointWriteError(LstmNumbaError, OSError):
    """A checkpoint could not be written; what stood there before is intact."""


class NotFittedError(LstmNumbaError, RuntimeError):
    """A prediction was asked of a readout that has learnt nothing."""


class ForeignWeightsError(LstmNumbaError, ValueError):
    """What should be another library's weights lacks some of them, or is something else."""


class NotExpressibleError(LstmNumbaError, ValueError):
    """No cell here computes what the other library's does, or the reverse."""


class WeightsFileError(LstmNumbaError, ValueError):
    """A file of weights is missing, damaged, or belongs to other equations."""


class WeightsWriteError(LstmNumbaError, OSError):
    """A file of weights could not be written; what stood there before is intact."""


class MissingPackageError(LstmNumbaError, ImportError):
    """An optional package that this function works with is not installed."""


class MixedTypesError(DtypeError, RuntimeError):
    """A tensor holds another number type than the module's parameters; torch raises RuntimeError for it."""


class NotRecordableError(LstmNumbaError, RuntimeError):
    """torch.jit was asked to script or trace a module that has no counterpart in torch.nn."""


class DeviceError(LstmNumbaError, RuntimeError):
    """Tensors lie where no kernels are, or on several devices."""


class UnsupportedDerivativeError(LstmNumbaError, NotImplementedError):
    """A derivative was asked for that the kernels do not have."""
