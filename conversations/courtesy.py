"""Who asks many questions at once slows down nobody who asks one."""

import asyncio

CROWD = 4  # turns at once; where there are more, a question that waited behind another lets others go first


class Courtesy:
    """Has questions that waited behind another begin `pace` seconds apart, while more than CROWD turns run."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._aside = 0  # turns that let others go first
        self._next = 0.0  # on the loop's clock: when the next of them may begin

    async def let_others_go_first(self, running: int) -> None:
        """Return when a question that waited may begin; among the `running` turns are this one and those aside."""
        if running - self._aside <= CROWD:
            return
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next) + self._pace
        self._aside += 1
        try:
            await asyncio.sleep(self._next - now)
        finally:
            self._aside -= 1
