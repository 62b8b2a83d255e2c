"""Which preferences answer the same prompt: they are held out together, so that no prompt is both
trained on and evaluated."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import defaultdict
from collections.abc import Callable

from trainer.data.reading import Row
from trainer.data.split import Heldout, Holdout, choose


class Prompts:
    """The prompts of the conversations, by number; of plain conversations none is known."""

    def __init__(self) -> None:
        self._digests = array("Q")

    def add(self, row: Row) -> None:
        """The next conversation's."""
        if row.judged is None:
            return
        prompt = [
            [message["role"], message["content"]]
            for message in row.judged.messages[: row.judged.first]
        ]
        text = json.dumps([prompt, row.tools], ensure_ascii=False)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._digests.append(int.from_bytes(digest, "little"))

    def holdout(
        self,
        conversations: array[int],
        heldout: Heldout,
        seed: int,
        has_twin: Callable[[int], bool],
    ) -> Holdout:
        """As trainer.data.split.choose, with all conversations of one prompt on one side."""
        if not self._digests:
            return choose(conversations, heldout, seed, has_twin)
        groups: dict[int, list[int]] = defaultdict(list)
        for number in conversations:
            groups[self._digests[number]].append(number)
        members = {group[0]: group for group in groups.values()}
        of_leaders = choose(
            array("q", members), heldout, seed, lambda number: any(map(has_twin, members[number]))
        )
        return of_leaders._replace(
            heldout=frozenset(each for number in of_leaders.heldout for each in members[number])
        )

    def shared(self, conversations: array[int], first_heldout: int) -> frozenset[int]:
        """Of the conversations from the number `first_heldout` on those whose prompt is trained on,
        too."""
        if not self._digests:
            return frozenset()
        trained = {self._digests[number] for number in conversations if number < first_heldout}
        return frozenset(
            number
            for number in conversations
            if number >= first_heldout and self._digests[number] in trained
        )
