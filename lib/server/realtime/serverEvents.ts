/** An event on its way to a client, which gets a name with it. */
export interface ServerEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}
