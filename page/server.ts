import { byId } from "./element.js";

/** A server that answers. */
export interface ReadyServer {
  readonly model: string;
  /** The key that it takes, if it needs one. */
  readonly key: string | undefined;
}

const second = () => new Promise((resolve) => setTimeout(resolve, 1000));

/**
 * Waits until the server has loaded its model and takes the key, which the user is asked for if there must be one.
 * @param tell says what is waited for
 */
export async function readyServer(given: string | undefined, tell: (text: string) => void): Promise<ReadyServer> {
  for (let key = given; ; ) {
    const headers: Record<string, string> = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    const response = await fetch("/v1/models", { headers, cache: "no-store" }).catch(() => undefined);
    if (response?.ok) {
      const { data } = (await response.json()) as { data: readonly { readonly id: string }[] };
      return { model: data[0]?.id ?? "", key };
    }
    if (response?.status === 401) {
      tell("This server needs its API key");
      key = await askForKey(key !== undefined);
      continue;
    }
    tell(await stateOf(response));
    await second();
  }
}

async function stateOf(response: Response | undefined): Promise<string> {
  if (!response) return "The server does not answer: trying again …";
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  return error.code === "model_loading" ? "Loading the model …" : `${error.message} (${response.status})`;
}

/** Asks the user for the key. A browser sends it as the name of a protocol, which has no other characters. */
function askForKey(wasWrong: boolean): Promise<string> {
  const dialog = byId("key-dialog", HTMLDialogElement);
  const input = byId("key", HTMLInputElement);
  const form = byId("key-form", HTMLFormElement);
  input.value = "";
  input.setCustomValidity("");
  if (wasWrong) byId("key-hint", HTMLParagraphElement).textContent = "That key is wrong. Try another one.";
  const keepOpen = (event: Event) => event.preventDefault(); // nothing works without a key
  dialog.addEventListener("cancel", keepOpen);
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const key = input.value.trim();
      const isName = /^[\w!#$%&'*+.^`|~-]+$/.test(key);
      input.setCustomValidity(isName ? "" : "Browsers can send letters, digits and !#$%&'*+-.^_`|~ only.");
      if (!form.reportValidity()) return;
      dialog.close();
      resolve(key);
    };
    input.oninput = () => input.setCustomValidity("");
  });
}
