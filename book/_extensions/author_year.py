"""Label the bibliography as the text cites: authors and year, in alphabetical order."""

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style
from pybtex.style.labels import BaseLabelStyle
from pybtex.style.sorting import BaseSortingStyle


def label(entry):
    """As ``author_year`` cites: two authors by name, more by the first."""
    people = [
        " ".join(map(str, (*p.rich_prelast_names, *p.rich_last_names)))
        for p in entry.persons["author"]
    ]
    who = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
    return f"{who}, {entry.fields['year']}"


class Labels(BaseLabelStyle):
    def format_labels(self, entries):
        return map(label, entries)


class Alphabetical(BaseSortingStyle):
    def sorting_key(self, entry):
        return label(entry).casefold()


class AuthorYear(Style):
    default_label_style = Labels
    default_sorting_style = Alphabetical


def setup(app):
    register_plugin("pybtex.style.formatting", "author_year", AuthorYear)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
