import { errnoName } from '../../linux/errno.ts'
import { MsrError, ProcessDied, SyscallError } from '../../vmm/errors.ts'

/** What came of an action, as a value and as text; refusals and deaths are outcomes. */
export function outcomeOf<T>(
  action: () => T,
  show: (value: T) => unknown,
): { readonly value: T | undefined; readonly text: string } {
  try {
    const value = action()
    return { value, text: textOf(show(value)) }
  } catch (error) {
    if (error instanceof SyscallError) return { value: undefined, text: refusalText(error) }
    if (error instanceof MsrError)
      return { value: undefined, text: `stopped at MSR 0x${error.index.toString(16)}, ${error.done} done` }
    if (error instanceof ProcessDied) return { value: undefined, text: error.message }
    throw error
  }
}

function refusalText({ errno, reason }: SyscallError): string {
  return reason === null ? errno : `${errno}: ${reason.sentence} (${reason.rule})`
}

export function textOf(value: unknown): string {
  if (value === undefined) return 'ok'
  if (typeof value === 'bigint') return `0x${value.toString(16)}`
  if (typeof value === 'number') return value < 0 && value > -4096 ? `-${errnoName(-value)}` : String(value)
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return String(value)
  if (Array.isArray(value)) return value.map(textOf).join(' ')
  return Object.entries(value as Record<string, unknown>)
    .map(([name, part]) => `${name}=${textOf(part)}`)
    .join(' ')
}
