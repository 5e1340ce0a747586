"""Count the columns of a terminal that text takes: two for CJK and emoji, none for accents that combine."""

import unicodedata

JOINER = "\u200d"  # makes one emoji of two
EMOJI_STYLE = "\ufe0f"  # makes an emoji of the character before it
SKIN_TONES = range(0x1F3FB, 0x1F400)
FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # two of them are one flag
HANGUL_ENDS = range(0x1160, 0x1200)  # vowels and ends of a syllable that is written into its first letter


def width(text: str) -> int:
    """Return the columns of a text."""
    if text.isascii():
        return len(text)
    return sum(columns for _, columns in _clusters(text))


def pad(text: str, columns: int) -> str:
    """Return the text with blanks after it, so that it takes that many columns."""
    return text + " " * (columns - width(text))


def cut(text: str, columns: int) -> str:
    """Return the text, or as much of its beginning as fits with a sign of omission."""
    if width(text) <= columns:
        return text
    kept, left = "", columns - 1
    for cluster, size in _clusters(text):
        if size > left:
            break
        kept, left = kept + cluster, left - size
    return kept + "…"


def _clusters(text: str) -> list[tuple[str, int]]:
    """Return the characters as a reader sees them, each with its columns."""
    clusters: list[tuple[str, int]] = []
    for char in text:
        before, size = clusters[-1] if clusters else ("", 0)
        code = ord(char)
        joined = before.endswith(JOINER) or (code in SKIN_TONES and size == 2)
        flag = code in FLAG_LETTERS and len(before) == 1 and ord(before) in FLAG_LETTERS
        if before and (flag or joined or not _columns(char)):
            clusters[-1] = (before + char, 2 if flag or char == EMOJI_STYLE else size)
        else:
            clusters.append((char, _columns(char)))
    return clusters


def _columns(char: str) -> int:
    """Return the columns of a character by itself."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf") or ord(char) in HANGUL_ENDS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
