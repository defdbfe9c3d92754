"""Every chart of the lab, by one name: `charts.saturation`, `charts.timeline`, `charts.roof`."""

from labkit.charts.batch_size_charts import batch_sizes, batch_sizes_sentence, heat_map
from labkit.charts.captions import provenance
from labkit.charts.job_charts import (
    confusion,
    engines_on_card,
    engines_on_card_sentence,
    quality_throughput,
    sentence,
    throughput_bars,
    where_time_goes,
)
from labkit.charts.over_time_charts import over_time
from labkit.charts.roofline_charts import roof, roof_sentence, speed_ups
from labkit.charts.row_charts import in_flight, row_time
from labkit.charts.style import Chart, png
from labkit.charts.sweep_charts import prediction, saturation
from labkit.charts.timeline_chart import timeline

__all__ = [
    "Chart",
    "batch_sizes",
    "batch_sizes_sentence",
    "confusion",
    "engines_on_card",
    "engines_on_card_sentence",
    "heat_map",
    "in_flight",
    "over_time",
    "png",
    "prediction",
    "provenance",
    "quality_throughput",
    "roof",
    "roof_sentence",
    "row_time",
    "saturation",
    "sentence",
    "speed_ups",
    "throughput_bars",
    "timeline",
    "where_time_goes",
]
