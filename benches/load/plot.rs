//! Line plots, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// One axis.
pub struct Axis {
    pub name: &'static str,
    pub logarithmic: bool,
}

/// Lines with their names.
pub struct Plot {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

const SIZE: (u32, u32) = (800, 450);
/// The factor of space beyond the outermost points.
const ROOM: f64 = 1.15;

impl Plot {
    /// Draws the plot to a file.
    pub fn draw(&self, path: &Path) -> Result<(), String> {
        let to_text =
            |error: &dyn std::fmt::Display| format!("cannot draw {}: {error}", path.display());
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let xs = bounds(points().map(|(x, _)| *x), self.x.logarithmic);
        let ys = bounds(points().map(|(_, y)| *y), self.y.logarithmic);
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| to_text(&error))?;
        let mut builder = ChartBuilder::on(&root);
        builder.caption(self.title, ("sans-serif", 20)).margin(12);
        builder.x_label_area_size(40).y_label_area_size(70);
        // A macro, since each kind of axis creates another type of chart.
        macro_rules! draw {
            ($x:expr, $y:expr) => {{
                let mut chart =
                    builder.build_cartesian_2d($x, $y).map_err(|error| to_text(&error))?;
                let mut mesh = chart.configure_mesh();
                mesh.x_desc(self.x.name)
                    .y_desc(self.y.name)
                    .draw()
                    .map_err(|error| to_text(&error))?;
                for (index, (name, points)) in self.lines.iter().enumerate() {
                    let color = Palette99::pick(index).to_rgba();
                    let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
                    let line =
                        chart.draw_series(line.point_size(3)).map_err(|error| to_text(&error))?;
                    line.label(name).legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                    });
                }
                let mut legend = chart.configure_series_labels();
                let legend = legend.position(SeriesLabelPosition::UpperLeft);
                let legend = legend.background_style(WHITE.mix(0.8)).border_style(BLACK);
                legend.draw().map_err(|error| to_text(&error))?;
            }};
        }
        match (self.x.logarithmic, self.y.logarithmic) {
            (false, false) => draw!(xs.0..xs.1, ys.0..ys.1),
            (false, true) => draw!(xs.0..xs.1, (ys.0..ys.1).log_scale()),
            (true, false) => draw!((xs.0..xs.1).log_scale(), ys.0..ys.1),
            (true, true) => draw!((xs.0..xs.1).log_scale(), (ys.0..ys.1).log_scale()),
        }
        root.present().map_err(|error| to_text(&error))
    }
}

/// Returns the range of an axis: from zero, unless it is logarithmic.
fn bounds(values: impl Iterator<Item = f64>, logarithmic: bool) -> (f64, f64) {
    let (least, most) = values
        .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    if logarithmic { (least.max(0.1) / ROOM, most.max(0.2) * ROOM) } else { (0.0, most * ROOM) }
}
