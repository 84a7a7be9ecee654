"""The words of a caption, as the caption metrics count them: Penn Treebank rules, lower case, punctuation left out.

    "A man's dog doesn't run, it walks."   ->  a man 's dog does n't run it walks
    "Two dogs (brown) at 5:30 in the U.S." ->  two dogs -lrb- brown -rrb- at 5:30 in the u.s.

coco-caption runs Stanford's PTBTokenizer 3.4.1 (``-preserveLines -lowerCase``), a Java program, and then drops a list of
punctuation; its list spells the brackets in capitals, so the lower-cased ``-lrb-`` stays a word. These are its published rules as
one regular expression, so that a score does not depend on whether a machine has Java. Left out, because captions have none of them:
smileys, fractions and currency signs as one character, HTML entities.
"""

from __future__ import annotations

import re

BRACKETS = {mark: f" -{name}- " for mark, name in zip("()[]{}", "lrb rrb lsb rsb lcb rcb".split(), strict=True)}
PLAIN = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "–": "--", "—": "--", "…": "...", **BRACKETS})

# words that keep their full stop; ft. and no. keep it only before another word, a number
SHORT = """adm apr assn aug ave bldg blvd bros calif capt co col corp dec dept dr esq est etc feb fla fri gen gov hon inc jan jr jul
jun ky lt ltd maj mar md mon mr mrs ms mt nov oct ph.d pres prof rd rep rev sen sep sept sgt sq sr st thurs tue tues univ va vs
wed""".split()

TOKEN = re.compile(
    rf"""(?x)
    -[lr][rsc]b-                                                                # a bracket, spelled out
  | https?://\S+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+ | <[^<>\s]+> | [@\#][a-z]\w*    # address, mail, tag
  | (?:[a-z]\.)+(?:[a-z]\b)? | \b(?:{"|".join(SHORT)})\. | ft\.(?=\s*\w) | no\.(?=\s*\d)
  | can(?=not\b) | gon(?=na\b) | got(?=ta\b) | wan(?=na\b) | gim(?=me\b) | lem(?=me\b) | 't(?=is\b|was\b)
  | \w+(?=n't\b) | n't\b | '(?:s|m|d|re|ve|ll)\b                                # does n't, man 's
  | 'n'?(?!\w) | 'em\b | '\d0s\b | y'(?=all\b) | ma'am\b | [dlo]'\w\w+          # rock 'n' roll, o'clock
  | [+-]?\.?\d(?:[.,:/-]?\d)*(?![-.,:/]?[^\W_]) | \d+(?:[.:]\d+)+                # 1,000, 3/4, 10-29-2011
  | [^\W_]+(?:(?:[-/.]|_+)[^\W_]+)*                                             # t-shirt, and/or
  | [!?]+ | \.+ | -+ | _+ | \*+ | \S
    """
)
DROPPED = re.compile(r"""[.-]+|['"?!,:;]""")  # "?!" is not in coco-caption's list, and stays


def words(text: str) -> list[str]:
    """The words of one caption.

    >>> words("It's 5:30 pm.")
    ['it', "'s", '5:30', 'pm']
    """
    return [word for word in TOKEN.findall(text.lower().translate(PLAIN)) if not DROPPED.fullmatch(word)]
