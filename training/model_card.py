"""The model card of postcard, written from measured results and from the code, never by hand."""

from __future__ import annotations

from typing import Any

from training.attributes import ABSENT, HEADS

TEMPLATE = """# postcard: model card

A text-to-image model small enough to ship with a package and to draw on two CPU cores: the
DALL-E Mini architecture (byte-pair text, an encoder, a decoder that draws image tokens row by row,
a VQGAN decoder that turns tokens into pixels), trained from scratch on procedurally drawn scenes.

*This file is written by `python -m training.evaluate`; edit `training/model_card.py` instead.*

| | |
|---|---|
| picture | 128 x 128 pixels, 16 x 16 tokens of 8 x 8 pixels, {codebook_size} codes |
| transformer | {transformer_parameters:,} parameters, half precision |
| detokenizer | {detokenizer_parameters:,} parameters, half precision |
| training | {vqgan_minutes:.0f} minutes tokenizer, {transformer_minutes:.0f} minutes transformer \
({pictures:,} pictures seen), two cores of a shared CPU, no GPU |
| data | drawn by `training/rendering.py`; no photograph, no drawing and no text of anybody else |
| sampling | temperature {sampling[temperature]:g}, top_k {sampling[top_k]}, \
guidance {sampling[guidance]:g} |

## Results

{prompts} prompts, each with a combination of attributes that no training scene contains; pictures
drawn with the {sampler} from the shipped files, seed {seed}, and read by a classifier trained on
renders only.

| measure | result | bar |
|---|---|---|
| named attributes that are in the picture ({named_attributes:,} in all) | **{overall:.1%}** \
| {bars[overall]:.0%} |
| worst kind of attribute ({worst_kind}) | {worst:.1%} | {bars[worst kind]:.0%} |
| objects not named that are absent | {unnamed_objects_absent:.1%} | |
| classifier on {classifier[renders]} fresh renders | {classifier[mean]:.2%} \
| {bars[classifier]:.0%} |
| classifier on reconstructed renders (tokenizer only) | {classifier[on_reconstructions]:.2%} | |
| tokenizer, PSNR on fresh renders | {vqgan_psnr:.1f} dB | {bars[psnr]:.0f} dB |

| kind of attribute | named | right | classifier alone |
|---|---|---|---|
{rows_of_kinds}

## What prompts may name

{vocabulary}

A prompt names a time and a land first, then objects, in the manner of these:

{listed_examples}

What is not named is not drawn, except clouds and the sun or moon, which are left to chance.

## What it is not

It draws the values listed above and nothing else: no animals, no people, no cars, no woods, no
towns, no rooms. Other words are read as letters it has never learnt from, so the picture then
follows the rest of the prompt, or nothing: "a forest at night" is a night without a tree, "a cat on
a chair" an empty meadow or snow. It reads English alone, in the letters a to z. One house, one
boat, one balloon: it cannot count beyond three trees, and places are left, middle and right. Where
a result above is below its bar, the picture is mostly right in its setting and often wrong in a
colour or a side: NOTES.md says why, and what to try next. It is a test model and a toy.
"""


def card(results: dict[str, Any], facts: dict[str, Any]) -> str:
    """Fill the template with evaluate's results and the facts of the training runs."""
    judged = results["classifier"]["kinds"]
    rows = [
        f"| {kind} | {entry['count']} | {entry['accuracy']:.1%} | {judged[kind]:.1%} |"
        for kind, entry in sorted(results["kinds"].items(), key=lambda item: item[1]["accuracy"])
    ]
    values = {kind: [each for each in head if each != ABSENT] for kind, head in HEADS.items()}
    count = sum(map(len, values.values()))
    listed = "\n".join(f"- {kind}: {', '.join(names)}" for kind, names in values.items())
    return TEMPLATE.format(
        **{**facts, **results},
        rows_of_kinds="\n".join(rows),
        vocabulary=f"{len(HEADS)} kinds of attribute, {count} values:\n\n{listed}",
        listed_examples="\n".join(f"- {text}" for text in facts["examples"]),
    )
