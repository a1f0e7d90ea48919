"""Tables, ratios and the JSON, from the records of the runs."""

from __future__ import annotations

import statistics

import cases
from cases import Group

# Two figures are compared if the distances of the processors differ at most by this factor.
ALIKE = 1.5
# Two hyperthreads of a core exchange a cache line faster than this. No two cores did.
SIBLINGS_BELOW_NS = 85


def distance(record: dict) -> float | None:
    """The round trip of a word between the processors, measured in this run."""
    return statistics.mean(record["lines"]) if "lines" in record else None


def stayed(record: dict) -> bool:
    if "lines" not in record:
        return True
    low, high = sorted(record["lines"])
    return high <= low * ALIKE


def comparable(a: dict, b: dict) -> bool:
    x, y = distance(a), distance(b)
    if x is None or y is None:
        return True
    return stayed(a) and stayed(b) and max(x, y) <= min(x, y) * ALIKE


def lost_share(records: list[dict]) -> float:
    pushed = sum(r.get("pushed", 0) for r in records)
    return sum(r.get("lost", 0) for r in records) / pushed if pushed else 0.0


def look(records: list[dict], told_siblings: bool) -> str:
    """Whether the two processors look like siblings in these runs."""
    found = [d for d in map(distance, records) if d is not None]
    if not found:
        return "one" if not told_siblings else "siblings"
    middle = statistics.median(found)
    kind = "siblings" if told_siblings or middle < SIBLINGS_BELOW_NS else "apart"
    moved = "" if max(found) <= min(found) * ALIKE else ", moving"
    return f"{kind}, {middle:.0f} ns{moved}"


def spread(values: list[float]) -> dict:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
    }


def print_group(group: Group, records: dict[str, list[dict]], told_siblings: bool) -> None:
    print(f"{group.title} ({group.unit})")
    for run in group.runs:
        got = records.get(run.key)
        if not got:
            print(f"  {run.key:28} -")
            continue
        s = spread([r[run.value] for r in got])
        lost = f"  {lost_share(got):.1%} lost" if lost_share(got) else ""
        more = ""
        if run.value == "push" and "pop" in got[0]:
            more = f"  pop {statistics.median([r['pop'] for r in got]):.2f}"
        if "p99" in got[0]:
            more = f"  p99 {statistics.median([r['p99'] for r in got]):.0f}"
        if group.name == "python-calls":
            for name in ("get", "push", "put", "next"):
                more += f"  {name} {statistics.median([r[name] for r in got]):.1f}"
        print(
            f"  {run.key:28} {s['median']:>11.2f}  [{s['min']:.2f} .. {s['max']:.2f}]"
            f"{more}{lost}  ({look(got, told_siblings)})"
        )
    print(flush=True)


def values_of(group: str) -> dict[str, str]:
    return {run.key: run.value for g in cases.groups() if g.name == group for run in g.runs}


def targets(results: dict[str, dict[str, list[dict]]]) -> list[dict]:
    done = []
    for target in cases.targets():
        records = results.get(target.group)
        if records is None:
            continue
        values = values_of(target.group)
        a, b = records.get(target.a), records.get(target.b)
        if target.a == "best peer":
            a, values["best peer"] = best(records), "ns"
        if a is None or (b is None and target.b != "lines"):
            done.append({"text": target.text, "limit": round(target.limit, 3), "met": None})
            continue
        ratios, apart = [], []
        for i, record in enumerate(a):
            x = record[target.a_value or values[target.a]]
            if target.b == "lines":
                ratios.append(x / distance(record))
                continue
            if i >= len(b):
                break
            y = b[i][target.b_value or values[target.b]]
            (ratios if comparable(record, b[i]) else apart).append(x / y)
        # If no two runs had similar distances, use all pairs, and mark them.
        used = ratios or apart
        ratio = statistics.median(used)
        done.append(
            {
                "text": target.text,
                **{("ratio" if k == "median" else k): v for k, v in spread(used).items()},
                "limit": round(target.limit, 3),
                "at_least": target.at_least,
                "pairs": len(ratios),
                "met": ratio >= target.limit if target.at_least else ratio <= target.limit,
            }
        )
    for text, group, key, value, limit in cases.ABSOLUTE:
        records = results.get(group, {}).get(key)
        if records:
            got = spread([r[value] for r in records])
            done.append(
                {
                    "text": f"{text}, ns",
                    "ratio": got["median"],
                    "min": got["min"],
                    "max": got["max"],
                    "limit": limit,
                    "at_least": False,
                    "pairs": len(records),
                    "met": got["median"] <= limit,
                }
            )
    return done


def best(records: dict[str, list[dict]]) -> list[dict] | None:
    """Returns the best of the peers in Python, by its median."""
    found = [records[key] for key in cases.BEST if records.get(key)]
    return min(found, key=lambda r: statistics.median([x["ns"] for x in r])) if found else None


def print_targets(done: list[dict]) -> None:
    if not done:
        return
    print("ratios (median of the pairs, their range), and the targets")
    for t in done:
        if t["met"] is None:
            print(f"  {t['text']:52} not measured")
            continue
        sign = "at least" if t["at_least"] else "at most"
        mark = "met" if t["met"] else "MISSED"
        doubt = "" if t["pairs"] else "  (the processors moved between the two)"
        print(
            f"  {t['text']:52} {t['ratio']:>8.3f}  [{t['min']:.3f} .. {t['max']:.3f}]"
            f"  {sign} {t['limit']:<6} {mark}{doubt}"
        )
    print()


def as_json(group: Group, records: dict[str, list[dict]]) -> dict:
    return {
        "name": group.name,
        "title": group.title,
        "unit": group.unit,
        "figures": [
            {
                "key": run.key,
                "value": run.value,
                **spread([r[run.value] for r in records[run.key]]),
                "lost_share": lost_share(records[run.key]),
                "cores": look(records[run.key], False),
                "runs": records[run.key],
            }
            for run in group.runs
            if records.get(run.key)
        ],
    }
