"""The error classes, and what help() says of the methods that raise them."""

import inspect

import pytest

import lstm_numba as ln
from lstm_numba import errors
from lstm_numba.run import Run


def test_every_error_is_the_packages_and_the_closest_builtin():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and c is not errors.LstmNumbaError]
    assert all(issubclass(c, errors.LstmNumbaError) for c in classes)
    assert all(any(b.__module__ == "builtins" and b is not Exception for b in c.__bases__) for c in classes)


def test_a_message_is_read_as_it_is_written():
    assert str(errors.UnknownNameError('it\'s "here"')) == 'it\'s "here"'


@pytest.mark.parametrize("method", [ln.Layer.forward, ln.Layer.hvp, ln.Stack.jvp, Run.backward])
def test_help_names_the_types_of_arguments(method):
    """ArrayLike written out is a paragraph for each argument."""
    assert "_SupportsArray" not in str(inspect.signature(method))
