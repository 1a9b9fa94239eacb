"""What can go wrong in `derive`: one class a situation, each also the closest builtin."""


class DeriveError(Exception):
    """Base of every error that `derive` raises on purpose."""


class CellError(DeriveError, ValueError):
    """A cell breaks one of its laws."""


class NameRuleError(CellError):
    """A name cannot be used: not a plain identifier, or it has a meaning already."""


class ShapeError(CellError):
    """Spaces do not agree in a sum, a product or an equation."""


class UndefinedNameError(CellError, NameError):
    """An equation reads a name that no earlier equation defines."""


class RedefinedNameError(CellError):
    """Two equations define one name, or one name means two things."""


class MissingStateError(CellError):
    """The previous value of a state is read, but no equation gives its new value."""


class EquationError(CellError):
    """An equation holds something the language does not have."""


class UnknownFunctionError(EquationError):
    """An equation applies a function that is not in the table of functions."""


class OptionError(DeriveError, ValueError):
    """A cell has no such option, or the option no such value."""


class PrintError(DeriveError, TypeError):
    """An expression has no form in the generated text."""


class UnknownCellError(DeriveError, KeyError):
    """No cell of the package has this name."""

    # KeyError prints the repr of its argument, which would show the message as a quoted string
    __str__ = Exception.__str__
