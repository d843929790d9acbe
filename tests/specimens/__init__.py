"""The networks of the zoo, family by family."""

from .classifiers import CLASSIFIERS
from .dense import DENSE
from .hugging_face import HUGGING_FACE
from .signals import SIGNALS

ZOO = (*CLASSIFIERS, *HUGGING_FACE, *DENSE, *SIGNALS)
