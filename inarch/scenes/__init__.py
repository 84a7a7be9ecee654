"""Rendered scenes with questions, captions and comparisons: data for the embedded vision-language model, made from a seed.

    world       what there is          questions, captions   what is asked and said about it       balance   what is asked of whom
    outlines    lines of it            styles, ink, render   how it is drawn                        words     the tokenizer
    read        ``scenes:STYLE@SEED`` as image-text data
"""
