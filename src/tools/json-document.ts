import * as v from 'valibot'
import type { UserError } from '../isa/user-error.ts'

/**
 * Reads a JSON file that has to have a form.
 * @param refuse makes the error from what is wrong: `it is not JSON`, or the place in the file and what it should be
 * @throws what `refuse` makes
 */
export function readDocument<S extends v.GenericSchema>(
  schema: S,
  json: string,
  refuse: (because: string) => UserError,
): v.InferOutput<S> {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw refuse('it is not JSON')
  }
  const parsed = v.safeParse(schema, value)
  if (parsed.success) return parsed.output
  const [issue] = parsed.issues
  throw refuse(`${v.getDotPath(issue) ?? 'the file'}: ${issue.message}`)
}
