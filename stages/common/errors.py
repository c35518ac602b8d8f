"""The one exception that is shown to users as a line instead of a traceback."""


class FacetError(ValueError):
    """Input, parameters or surroundings are wrong: the message says where, what was expected, got.

    Every other exception is a defect of ours and keeps its traceback.
    """
