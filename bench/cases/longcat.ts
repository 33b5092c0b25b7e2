/** Sizes of LongCat-Flash-Omni, shared by several families of operations. */
export const hidden = 6144;
export const ffnHidden = 12288;
export const expertHidden = 2048;
export const experts = 512;
export const zeroExperts = 256;
export const topK = 12;
/** FFN experts that a token picks on average; its other picks are zero experts. */
export const realPicks = 8;
export const vocabulary = 131072;
/** The audio encoder's rows. */
export const audioHidden = 1536;
/** The vision encoder's attention. */
export const vision = { heads: 16, headDim: 80, width: 1280 };
/** The language model's latent attention. */
export const mla = { heads: 64, nopeDim: 128, ropeDim: 64, vDim: 128 };
export const latent = 512;
/** Tokens in a block of the cache. */
export const blockSize = 64;
