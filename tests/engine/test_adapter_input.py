"""Numbers that no adapter can be applied to are refused by their place."""

from __future__ import annotations

import numpy as np
import pytest

from sona_pg import InvalidValue, SonaEngine

DIM = 8
GOOD = np.ones(DIM, np.float32)


def test_an_adapter_refuses_numbers_that_are_not_finite(database_url: str) -> None:
    def refuse(engine: SonaEngine) -> None:
        for number in (np.nan, np.inf, -np.inf):
            for place in (0, 3, DIM - 1):
                x = GOOD.copy()
                x[place] = number
                for call in (engine.apply_micro_lora, lambda x: engine.apply_base_lora(0, x)):
                    with pytest.raises(InvalidValue, match=rf"x\[{place}\] is {number}, expected a finite number"):
                        call(x)
                    with pytest.raises(InvalidValue, match=rf"x\[1, {place}\] is {number}, expected a finite number"):
                        call(np.stack([GOOD, x]))
                with pytest.raises(InvalidValue, match="x has a number that is not finite"):
                    engine.apply_micro_lora(x, out=x)

    with SonaEngine(DIM, database_url) as engine:
        refuse(engine)  # no version has been learned
        for quality in (0.0, 1.0) * 10:
            engine.end_trajectory(engine.begin_trajectory(GOOD), quality=quality)
        assert engine.force_learn().learned
        refuse(engine)
