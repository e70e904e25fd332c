"""Files judged by the IOOS compliance checker."""

from __future__ import annotations

from compliance_checker.suite import CheckSuite


def judged(path, spec):
    """All that the checker finds, and where it gave up."""
    suite = CheckSuite()
    suite.load_all_available_checkers()
    dataset = suite.load_dataset(str(path))
    found, failed = suite.run_all(dataset, [spec])[spec]
    dataset.close()
    return [message for result in found for message in messages(result)] + list(failed)


def messages(result):
    lost = result.value is not True and (not isinstance(result.value, tuple) or result.value[0] < result.value[1])
    return [*(result.msgs if lost else []), *(m for child in result.children or () for m in messages(child))]
