// A canvas of cells: mouse, finger and arrow keys go from cell to cell.
import { outline, sized } from "./draw.js";

export class Cells {
  /** `moved(row, column)` when the cell changes; `pressed(row, column)` on click, Enter or Space. */
  constructor(canvas, { moved, pressed = () => {}, hover = true }) {
    this.canvas = canvas;
    this.moved = moved;
    this.cell = [0, 0];
    this.rows = this.columns = 1;
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * this.rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * this.columns);
      return [row, column];
    };
    if (hover) {
      canvas.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "touch") this.go(...under(event)); // a finger that moves scrolls the page
      });
    }
    canvas.addEventListener("click", (event) => {
      this.go(...under(event));
      pressed(...this.cell);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (step) this.go(this.cell[0] + step[0], this.cell[1] + step[1]);
      else if (event.key === "Home") this.go(this.cell[0], 0);
      else if (event.key === "End") this.go(this.cell[0], this.columns - 1);
      else if (event.key === "Enter" || event.key === " ") pressed(...this.cell);
      else return;
      event.preventDefault();
    });
  }

  /** Goes to a cell, if it is there. */
  go(row, column) {
    if (row < 0 || row >= this.rows || column < 0 || column >= this.columns) return;
    if (this.exists && !this.exists(row, column)) return;
    if (row === this.cell[0] && column === this.cell[1]) return;
    this.cell = [row, column];
    this.moved(row, column);
  }

  /** Draws: `paintCells(context, side)` and a frame around the present cell, or around `boxes`. */
  draw(rows, columns, side, paintCells, boxes) {
    this.rows = rows;
    this.columns = columns;
    this.cell = [Math.min(this.cell[0], rows - 1), Math.min(this.cell[1], columns - 1)];
    const context = sized(this.canvas, columns * side, rows * side);
    paintCells(context, side);
    for (const [row, column, high, wide] of boxes || [[...this.cell, 1, 1]]) {
      outline(context, column * side + 1, row * side + 1, wide * side - 2, high * side - 2);
    }
  }
}
