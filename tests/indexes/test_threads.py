"""One open index searched by several threads, with filters that call functions in Python."""

from __future__ import annotations

import subprocess
import sys

from mbert_retrieval import Index, Passage

# in a process of its own: threads that wait for each other for ever cannot be stopped
SEARCHES = """
import sys, threading
from mbert_retrieval import Index

index = Index.open(sys.argv[1])
wheres = [None, "text GLOB '*" + "a" * 100 + "*'", "text LIKE '%word%'", "path IS NULL"]
errors = []

def search(number):
    try:
        for turn in range(150):
            hits = index.search("word", k=5, where=wheres[(number + turn) % len(wheres)])
            assert len(hits) == 5, hits
            index.get(hits[0].passage.id)
            len(index), index.folder.content_hashes(), index.folder.settings
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(errors)
"""


def test_threads_never_wait_for_each_other_for_ever(tmp_path):
    passages = [Passage(str(n), "word " + "a" * 5000) for n in range(40)]
    Index.build(tmp_path / "i", passages, None)
    command = [sys.executable, "-c", SEARCHES, str(tmp_path / "i")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
