"""The results of `rowcast bench scaling` as tables, for the terminal and for docs/scaling.md."""

from __future__ import annotations

from typing import Any

from ..markdown import table

Figures = dict[str, Any]


def measured(found: Figures) -> str:
    """A process beside two replicas, and the simulation of those."""
    single, cluster = found["single"], found["cluster"]
    rows = [
        [
            "full load, pictures a minute",
            f"{single['pictures_per_minute']:.0f}",
            f"{cluster['pictures_per_minute']:.0f} ({cluster['throughput_ratio']:.2f} times)",
        ],
        *(
            [
                f"half load, a row from its drawing to its receipt, {share}, ms",
                f"{single['row_ms'][share]:.1f}",
                f"{cluster['row_ms'][share]:.1f} ({cluster['added_row_ms'][share]:+.1f})",
            ]
            for share in ("p50", "p99")
        ),
        ["the gateway's CPU, ms a row", "", f"{cluster['gateway_cpu_ms_per_row']:.2f}"],
        [
            f"a picture on the first of {cluster['sockets']} WebSockets, and on the last, s",
            "",
            f"{cluster['first_of_sockets_s']:.2f}, {cluster['last_of_sockets_s']:.2f}",
        ],
    ]
    told = table([f"postcard, {found['machine']}", "one process", "two replicas"], rows)
    agreement = table(
        ["two replicas, requests at random", "measured", "simulated", "off by"],
        [
            [
                f"{each['load']:.0%} of full load: {label}",
                f"{each['measured'][name]:.2f}",
                f"{each['simulated'][name]:.2f}",
                f"{each['off_percent'][name]:+.0f}%",
            ]
            for each in found["agreement"]
            for name, label in (
                ("pictures_per_s", "pictures a second"),
                ("picture_s", "a picture, s"),
            )
        ],
    )
    return f"`{found['command']}`, Ray {found['versions']['ray']}:\n\n{told}\n\n{agreement}"


def plans(found: Figures) -> str:
    """The worked plans."""
    return table(
        [
            "concurrent viewers",
            "pictures a second",
            "H100s",
            "gateway cores",
            "first row, ms (p50, p99)",
            "a picture, ms (p50, p99)",
            "replicas that died, pictures moved",
        ],
        [
            [
                f"{plan['viewers']:,}",
                f"{plan['pictures_per_s']:,.0f}",
                f"{plan['replicas']:,}",
                f"{plan['gateway_cores']:,}",
                f"{plan['first_row_ms']['p50']:.0f}, {plan['first_row_ms']['p99']:.0f}",
                f"{plan['picture_ms']['p50']:.0f}, {plan['picture_ms']['p99']:.0f}",
                f"{plan['deaths']}, {plan['moved_pictures']}",
            ]
            for plan in found["plans"]
        ],
    )


def report(found: Figures) -> str:
    """All of it."""
    return f"{measured(found)}\n\n{plans(found)}"


BLOCKS = {"measured": measured, "plans": plans}
