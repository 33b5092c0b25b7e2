/** What went wrong, in words that tell the user how to mend it. */
export class Problem extends Error {
  override readonly name = "Problem";
}

/** The words for an error. */
export const wordsOf = (error: unknown): string =>
  error instanceof Problem ? error.message : `Something went wrong: ${error instanceof Error ? error.message : error}`;

/** What the browser says of a device that it does not give. */
export function deviceProblem(error: unknown, device: "microphone" | "camera"): Problem {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError")
    return new Problem(`The browser does not give the ${device}: allow it beside the page’s address, then try again.`);
  if (name === "NotFoundError") return new Problem(`There is no ${device}. Text and files work without one.`);
  if (name === "NotReadableError") return new Problem(`The ${device} is in use by another program: close that first.`);
  return new Problem(`The ${device} cannot be opened: ${error instanceof Error ? error.message : error}`);
}

/** The devices of the browser. @throws {Problem} for a page that may have none */
export function mediaDevices(): MediaDevices {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw new Problem(
    "Browsers give microphone and camera to secure pages only: open this one by https, or as http://127.0.0.1 on the server’s own machine.",
  );
}
