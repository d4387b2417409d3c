//! Sizes on a chart: what a pixel is to plotters, and how large words are.

/// How many of plotters' units make one pixel. plotters places things by whole numbers, so that a finer unit than the
/// pixel keeps curves smooth.
pub(super) const FINE: i32 = 4;
/// The size of words, in pixels.
pub(super) const FONT: i32 = 13;
/// plotters takes the height of a line, not the size of the font: this many times the size.
pub(super) const HEIGHT: f64 = 1.24;
/// The width of an average letter, as a share of the font's size.
const LETTER: f64 = 0.62;

/// About how wide a text is, in pixels.
pub(super) fn wide(text: &str) -> i32 {
    (text.chars().count() as f64 * f64::from(FONT) * LETTER) as i32
}
