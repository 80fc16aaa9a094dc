/**
 * A difference that does not count against the model: the recording machine's own limit or setting. The table is closed: what no
 * row covers is a difference, and a row that covers nothing any more is reported.
 */
export interface Explanation {
  readonly recording: string
  readonly scenarios: RegExp
  /** Against `Difference.where`. */
  readonly where: RegExp
  /** The values may differ in these bits only. */
  readonly bits?: bigint
  readonly because: string
}

export const EXPLANATIONS: readonly Explanation[] = []
