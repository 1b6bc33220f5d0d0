"""Import and export of a space's records as files; the command line only parses arguments and calls it."""

from __future__ import annotations

from sona_pg.transfer.csv_output import CsvOutput
from sona_pg.transfer.exporting import ExportWanted, export_candidates, export_trajectories
from sona_pg.transfer.first_look import require_scale_and_encoding
from sona_pg.transfer.import_source import ImportWanted, require_dimension
from sona_pg.transfer.imported import Imported
from sona_pg.transfer.importing import import_file
from sona_pg.transfer.parquet_output import ParquetOutput
from sona_pg.transfer.peft_files import write_peft
from sona_pg.transfer.preference_pairs import export_pairs
from sona_pg.transfer.row_mapping import RowMapping

__all__ = [
    "CsvOutput",
    "ExportWanted",
    "ImportWanted",
    "Imported",
    "ParquetOutput",
    "RowMapping",
    "export_candidates",
    "export_pairs",
    "export_trajectories",
    "import_file",
    "require_dimension",
    "require_scale_and_encoding",
    "write_peft",
]
