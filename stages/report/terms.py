"""What is known of where pictures and labels come from, by source.

Sources: Liu, Luo, Wang and Tang, Deep Learning Face Attributes in the Wild, ICCV 2015, and the
terms on its page (see NOTICE); Lingenfelter et al., ISVC 2022, on its labels.
"""

from dataclasses import dataclass

from stages.report.inputs import Inputs

UNKNOWN = "Not known to Facet: the files do not say. Add it before you pass this card on."


@dataclass(frozen=True)
class Terms:
    """What a card says about a source, each in sentences."""

    name: str
    motivation: tuple[str, ...]
    pictures: tuple[str, ...]
    labels: tuple[str, ...]
    consent: tuple[str, ...]
    licence: tuple[str, ...]
    weights: tuple[str, ...]
    limits: tuple[str, ...]


CELEBA = Terms(
    name="CelebA",
    motivation=(
        "CelebA was made for research on face attributes and landmarks (Liu, Luo, Wang and Tang, "
        "ICCV 2015; Multimedia Laboratory, The Chinese University of Hong Kong).",
    ),
    pictures=(
        "Photographs of celebrities gathered from the web, aligned by their eyes and cut to 178 x "
        "218 pixels. They are no sample of any population.",
    ),
    labels=(
        "Labels are annotators’ judgements of a picture, some of them of taste (Attractive). Male "
        "and Young are appearances, no facts about a person.",
        "Many are wrong: at least a third of the pictures bear a wrong label, and annotators "
        "hardly agree on High_Cheekbones, Pointy_Nose or Oval_Face (Lingenfelter et al., 2022).",
    ),
    consent=(
        "The people shown did not consent to being in a data set, and cannot withdraw from copies.",
    ),
    licence=(
        "Non-commercial research only. The pictures may not be redistributed, nor may what is "
        "derived from them be used commercially; they belong neither to the laboratory nor to this "
        "project.",
        "This report shows some of them: it must not be published.",
    ),
    weights=(
        "A model trained on CelebA is derived from it: its terms (non-commercial research only) "
        "are to be considered before the weights are shared or used.",
    ),
    limits=(
        "The figures hold for posed, aligned pictures of celebrities. Expect worse ones elsewhere: "
        "models trained on CelebA alone lose most of their lead on other sets of faces.",
    ),
)

DEMO = Terms(
    name="the demo",
    motivation=("Drawn to show the whole pipeline at work without a photograph of anyone.",),
    pictures=(
        "Faces drawn by this project’s own code from random parameters; nobody is shown. Faults "
        "(copies, leaks, turned labels, wrong identities, pictures without a face) are planted, "
        "and listed in truth.parquet.",
    ),
    labels=("Labels follow from what was drawn, except those turned on purpose.",),
    consent=("No person is shown, so nobody’s consent is needed.",),
    licence=("Drawn by this project’s code and covered by its licence, Apache-2.0.",),
    weights=("Trained on drawn faces: of no use on photographs.",),
    limits=("Its figures say nothing about CelebA or about photographs.",),
)

OTHER = Terms(
    name="a data set of your own",
    motivation=(UNKNOWN,),
    pictures=(f"How they were gathered: {UNKNOWN[0].lower()}{UNKNOWN[1:]}",),
    labels=(
        f"Who labelled them, and how: {UNKNOWN[0].lower()}{UNKNOWN[1:]}",
        "Labels of faces are judgements of appearance, no facts about people.",
    ),
    consent=(f"Whether the people shown agreed: {UNKNOWN[0].lower()}{UNKNOWN[1:]}",),
    licence=(UNKNOWN, "This report shows some of the pictures: their terms apply to it."),
    weights=("The model is derived from the data: their terms apply to the weights too.",),
    limits=("The figures hold for pictures like those of the test partition, and for no others.",),
)


def find_terms(inputs: Inputs) -> Terms:
    """What is known of this data's source, as the download stage recognised it."""
    if inputs.is_demo:
        return DEMO
    return CELEBA if inputs.manifest["celeba"] is not None else OTHER
