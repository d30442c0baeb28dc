"""Clean English text out of four Debian packages, for the demo model.

    corpus.py OUT_DIR [--seed N]

writes OUT_DIR/documents.jsonl ({"source", "split", "text"}, one chapter or entry group a line, split
"train" or "held_out") and OUT_DIR/chats.jsonl (lists of {"role", "content"}), the latter made from
training documents only. Needs the packages bible-kjv (the reader of bible-kjv-text), r-cran-janeaustenr,
jargon-text and debian-handbook.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import random
import re
import subprocess
import unicodedata
from html.parser import HTMLParser

HELD_OUT_PERCENT = 2
DOC = pathlib.Path("/usr/share/doc")
AUSTEN = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey",
          "persuasion"]
TITLES = {"sensesensibility": "Sense and Sensibility", "prideprejudice": "Pride and Prejudice",
          "mansfieldpark": "Mansfield Park", "emma": "Emma", "northangerabbey": "Northanger Abbey",
          "persuasion": "Persuasion"}


def tidy(text):
    """NFC, straight quotes (two alphabets of quotes would only split the statistics), single spaces."""
    text = unicodedata.normalize("NFC", text)
    text = text.translate(str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " "}))
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def unwrap(lines):
    """Joins hard-wrapped lines into one line a paragraph."""
    paragraphs, current = [], []
    for line in lines:
        if line.strip():
            current.append(line.strip())
        elif current:
            paragraphs.append(" ".join(current))
            current = []
    if current:
        paragraphs.append(" ".join(current))
    return paragraphs


def austen():
    """One document a chapter: title line, then paragraphs."""
    for name in AUSTEN:
        code = f'library(janeaustenr); writeLines(enc2utf8({name}))'
        raw = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
        chapter = []
        for paragraph in unwrap(raw.stdout.splitlines()):
            if re.fullmatch(r"(CHAPTER|Chapter) [0-9IVXL]+\.?", paragraph) and chapter:
                yield TITLES[name], chapter
                chapter = []
            if not re.match(r"(VOLUME|Volume|FINIS|THE END|END OF|By Jane|by Jane|\(18)", paragraph):
                chapter.append(paragraph.replace("_", ""))
        yield TITLES[name], chapter


def bible():
    """(book name, chapter number, verses) in order."""
    raw = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, text=True,
                         check=True).stdout
    pretty = subprocess.run(["bible", "-l200", "gen1:1-rev22:21"], capture_output=True, text=True,
                            check=True).stdout
    names = re.findall(r"^([0-9A-Z][A-Za-z0-9 ]+?) (\d+)\n\n", pretty, re.M)
    chapters, last = [], None
    for line in raw.splitlines():
        match = re.match(r"([0-9A-Za-z]+?)(\d+):(\d+) (.*)", line)
        if not match:
            continue
        key = match[1], match[2]
        if key != last:
            chapters.append([])
            last = key
        chapters[-1].append(match[4].replace("[", "").replace("]", ""))
    if len(names) != len(chapters):
        raise SystemExit(f"bible: {len(names)} headings but {len(chapters)} chapters")
    for (book, number), verses in zip(names, chapters):
        yield book, int(number), verses


def jargon():
    """(headword or None, paragraphs): the lexicon's entries; the prose around it has no headword."""
    text = gzip.open(DOC / "jargon-text" / "jargon.txt.gz", "rt", encoding="utf-8").read()
    paragraphs = unwrap(text.splitlines())
    head, body = None, []
    for paragraph in paragraphs:
        match = re.match(r":([^:]{1,40}):(?: |$)", paragraph)
        if match:
            if body:
                yield head, body
            head, body = match[1], []
            paragraph = re.sub(r"^:[^:]+: ?(/[^/]+/,? ?)*", "", paragraph)
        elif len(paragraph) < 40 or re.match(r"[|_*=═-]{3,}|Prev|Next|\[\d+\]", paragraph):
            continue
        paragraph = re.sub(r"\{([^}]*)\}", r"\1", paragraph)
        if paragraph:
            body.append(paragraph)
    if body:
        yield head, body


class HandbookPage(HTMLParser):
    """Collects the text of titles, paragraphs and list items of one page of the handbook."""
    PARA = ("para", "simpara")

    def __init__(self):
        super().__init__()
        self.out, self.buffer, self.depth, self.kind = [], [], 0, None

    def handle_starttag(self, tag, attrs):
        css = (dict(attrs).get("class") or "").split()
        if self.kind is None and tag == "div" and css and css[0] in self.PARA:
            self.kind, self.depth, self.buffer = "p", 0, []
        elif self.kind is None and tag in ("h1", "h2", "h3", "h4"):
            self.kind, self.depth, self.buffer = tag, 0, []
        elif self.kind == "p" and tag == "div":
            self.depth += 1

    def handle_endtag(self, tag):
        closing = tag == ("div" if self.kind == "p" else self.kind)
        if closing and self.depth:
            self.depth -= 1
        elif closing and self.kind:
            self.out.append((self.kind, " ".join("".join(self.buffer).split())))
            self.kind = None

    def handle_data(self, data):
        if self.kind:
            self.buffer.append(data)


def handbook():
    """(section title, paragraphs) for every page."""
    for page in sorted((DOC / "debian-handbook" / "html" / "en-US").glob("*.html")):
        if page.name == "index.html":
            continue
        parser = HandbookPage()
        parser.feed(page.read_text(encoding="utf-8"))
        title, body = None, []
        for kind, text in parser.out:
            text = re.sub(r"^(Chapter )?[0-9A-Z]+(\.[0-9]+)*\. ", "", text)
            if kind == "p" and len(text) > 30:
                body.append(text)
            elif kind != "p" and text:
                if body:
                    yield title, body
                title, body = text, []
        if body:
            yield title, body


def grouped(entries, size):
    """Runs of short entries joined to documents of about `size` characters."""
    group, length = [], 0
    for entry in entries:
        group.append(entry)
        length += len(entry)
        if length > size:
            yield "\n\n".join(group)
            group, length = [], 0
    if group:
        yield "\n\n".join(group)


def split_of(text):
    digest = hashlib.sha256(text[:200].encode()).digest()
    return "held_out" if int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT else "train"


def chats_from(rng, austen_docs, bible_docs, jargon_entries, handbook_entries):
    """Question and answer turns whose answers are sentences of the sources."""
    def turn(question, answer):
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    for head, body in jargon_entries:
        if head and len(body[0]) > 40:
            ask = rng.choice(["What is {}?", "What does {} mean?", "Define {}.", "Explain {}."])
            yield turn(ask.format(head), body[0][:600].strip())
    for title, body in handbook_entries:
        if title:
            ask = rng.choice(["Tell me about {}.", "What about {}?", "Explain: {}."])
            yield turn(ask.format(title), body[0][:600].strip())
    for book, number, verses in bible_docs:
        for verse in rng.sample(range(len(verses)), min(2, len(verses))):
            ask = rng.choice(["What does {} {}:{} say?", "Quote {} {}:{}.", "{} {}:{}, please."])
            yield turn(ask.format(book, number, verse + 1), verses[verse])
    for title, paragraphs in austen_docs:
        for paragraph in rng.sample(paragraphs[1:], min(12, max(0, len(paragraphs) - 1))):
            sentences = re.split(r"(?<=[.!?;]) ", paragraph)
            if len(sentences) > 2:
                ask = rng.choice(["Continue this text: {}", "Go on: {}", "What comes next? {}"])
                yield turn(ask.format(sentences[0]), " ".join(sentences[1:])[:600])


def with_variety(rng, chats):
    """Some conversations get a system line, some are joined to two or three turns."""
    rng.shuffle(chats)
    i = 0
    while i < len(chats):
        count = rng.choice([1, 1, 1, 2, 3])
        messages = [m for chat in chats[i:i + count] for m in chat]
        if rng.random() < 0.3:
            line = rng.choice(["You are a helpful librarian.", "Answer from the books you know.",
                               "You are a demo model. Be brief."])
            messages.insert(0, {"role": "system", "content": line})
        yield messages
        i += count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    books = [(t, [tidy(p) for p in ps]) for t, ps in austen()]
    chapters = list(bible())
    entries = [(h, [tidy(p) for p in body]) for h, body in jargon()]
    sections = [(t and tidy(t), [tidy(p) for p in body]) for t, body in handbook()]
    documents = [("austen", f"{title}\n\n" + "\n\n".join(ps)) for title, ps in books]
    documents += [("bible", f"{book} {number}\n\n" + "\n".join(v)) for book, number, v in chapters]
    documents += [("jargon", text) for text in
                  grouped((f"{h}: " * bool(h) + "\n\n".join(b) for h, b in entries), 4000)]
    documents += [("handbook", text) for text in
                  grouped((f"{t}\n\n" * bool(t) + "\n\n".join(b) for t, b in sections), 4000)]

    train_text = set()
    totals = {}
    with open(args.out / "documents.jsonl", "w", encoding="utf-8") as out:
        for source, text in documents:
            split = split_of(text)
            if split == "train":
                train_text.add(text)
            totals[source, split] = totals.get((source, split), 0) + len(text.encode())
            out.write(json.dumps({"source": source, "split": split, "text": text},
                                 ensure_ascii=False) + "\n")
    train_join = "\0".join(train_text)
    rng = random.Random(args.seed)
    chats = [c for c in chats_from(rng, books, chapters, entries, sections)
             if c[1]["content"] in train_join]
    with open(args.out / "chats.jsonl", "w", encoding="utf-8") as out:
        for messages in with_variety(rng, chats):
            out.write(json.dumps(messages, ensure_ascii=False) + "\n")
    for (source, split), size in sorted(totals.items()):
        print(f"{source:9} {split:9} {size:9} bytes")
    print(f"{len(chats)} question-answer pairs")


if __name__ == "__main__":
    main()
