// Lesson 5, how it learns: first nine pixels, then handwriting.
import { drawSmall, smallLesson, startSmall } from "./learn-small.js";
import { digitLesson, drawDigits, startDigits } from "./learn-digits.js";
import { STRINGS } from "./learn-strings.js";
import { addStrings } from "./strings.js";

addStrings(STRINGS);

export function startLearning(data) {
  startSmall();
  startDigits(data.digits);
}

export function drawLearning() {
  drawSmall();
  drawDigits();
}

export const learning = { small: smallLesson, digits: digitLesson }; // for the console, and for tests
