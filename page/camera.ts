import { deviceProblem, mediaDevices } from "./problem.js";

/** Milliseconds between frames: the model looks at two for each second of speech. */
const interval = 500;
/** Pixels of a frame's longer side. */
const longSide = 448;

/** A camera that is open, and what it shows on the page. */
export class Camera {
  readonly #video: HTMLVideoElement;
  readonly #stream: MediaStream;
  readonly #timer: number;
  readonly #canvas = document.createElement("canvas");

  private constructor(video: HTMLVideoElement, stream: MediaStream, onFrame: (image: string) => void) {
    this.#video = video;
    this.#stream = stream;
    this.#timer = window.setInterval(() => {
      const image = this.#frame();
      if (image) onFrame(image);
    }, interval);
  }

  /**
   * @param video shows what the camera sees
   * @param onFrame takes frames as data URIs
   * @param onLost is called when the camera is gone
   * @throws {Problem}
   */
  static async open(video: HTMLVideoElement, onFrame: (image: string) => void, onLost: () => void): Promise<Camera> {
    const wanted = { video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" } };
    const stream = await mediaDevices()
      .getUserMedia(wanted)
      .catch((error) => {
        throw deviceProblem(error, "camera");
      });
    stream.getVideoTracks()[0]!.addEventListener("ended", onLost);
    video.srcObject = stream;
    await video.play();
    return new Camera(video, stream, onFrame);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const track of this.#stream.getTracks()) track.stop();
    this.#video.srcObject = null;
  }

  #frame(): string | undefined {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth === 0) return undefined;
    return jpeg(this.#canvas, this.#video, { width: videoWidth, height: videoHeight, longSide, quality: 0.75 });
  }
}

/** Draws a picture, made smaller if it must be. @returns the data URI of a JPEG */
export function jpeg(
  canvas: HTMLCanvasElement,
  picture: CanvasImageSource,
  { width, height, longSide, quality }: Record<"width" | "height" | "longSide" | "quality", number>,
): string {
  const scale = Math.min(1, longSide / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(scale * width));
  canvas.height = Math.max(1, Math.round(scale * height));
  const context = canvas.getContext("2d")!;
  context.fillStyle = "white"; // behind pictures that are transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", quality);
}
