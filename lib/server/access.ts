import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";
import { Refusal } from "./errors.js";

const digest = (text: string) => createHash("sha256").update(text).digest();

/** Decides who may ask: whoever has the key, if there is one, and no web page but the server's own and those of the allowed origin. */
export class Access {
  readonly #key: Buffer | undefined;
  readonly #origin: string | undefined;
  readonly #scheme: "http" | "https";

  /** @param origin of web pages that may ask; @param scheme of the server */
  constructor(key: string | undefined, origin: string | undefined, scheme: "http" | "https") {
    this.#key = key === undefined ? undefined : digest(key);
    this.#origin = origin;
    this.#scheme = scheme;
  }

  /**
   * Browsers send the origin of the page with what they post, also to a server on the user's own machine. Programs send
   * none.
   * @throws {Refusal} 403 for a page of another origin
   */
  checkOrigin({ origin, host }: IncomingHttpHeaders): void {
    if (origin === undefined || this.#origin === "*" || origin === this.#origin) return;
    if (origin === this.#ownOrigin(host)) return;
    const message = "web pages of this origin may not use this server (--cors ORIGIN allows one)";
    throw new Refusal({ status: 403, message, code: "origin_not_allowed" });
  }

  /**
   * The origin of the server's own page, if the client reached it by an address or as localhost. Any other name may be
   * one that the author of a foreign page has made to mean this machine.
   */
  #ownOrigin(host: string | undefined): string | undefined {
    const text = `${this.#scheme}://${host}`;
    if (host === undefined || !URL.canParse(text)) return undefined;
    const url = new URL(text);
    const isAddress = isIP(url.hostname.replace(/^\[(.*)\]$/, "$1")) !== 0;
    return url.host === host && (isAddress || url.hostname === "localhost") ? url.origin : undefined;
  }

  /** @throws {Refusal} 401 for a wrong key. The comparison takes the same time wherever the keys differ. */
  checkKey(authorization: string | undefined): void {
    if (!this.#key) return;
    const given = /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
    if (given === undefined) {
      const message = "there is no API key: send it as Authorization: Bearer KEY";
      throw new Refusal({ status: 401, message, code: "invalid_api_key" });
    }
    if (!timingSafeEqual(digest(given), this.#key))
      throw new Refusal({ status: 401, message: "the API key is wrong", code: "invalid_api_key" });
  }
}
