// Columns of tables: headings, help and formats are those of src/report/columns.rs, as everywhere in gilscope.

const share = (value) => (value > 0 ? (value >= 0.9995 ? "100" : (value * 100).toFixed(1)) : "-");

const FORMATS = { text: (value) => value, count: number, time: duration, percent, share };

/**
 * Makes columns of one table: `column(key, of)` for the value that `of` gives for a row. `more` says what is different
 * here: another `show`, a style.
 */
function columnsOf(page, table) {
  return (key, of, more = {}) => {
    const { title, help, format } = page.columns[table][key];
    return { title, help, text: format === "text", of, show: (row) => FORMATS[format](of(row)), ...more };
  };
}
