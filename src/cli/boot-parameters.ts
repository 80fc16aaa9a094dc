import { UserError } from '../isa/user-error.ts'
import type { KernelOptions } from '../linux/kernel.ts'

export type BootParameters = Pick<KernelOptions, 'splitLockDetect' | 'strictSigaltstack'>

const SPLIT_LOCK = /^split_lock_detect=(off|warn|fatal|ratelimit:([1-9]\d{0,2}|1000))$/

/** Words of a kernel's command line that the model knows (SLD-13, PERM-31); UserError for another one. */
export function bootParameters(words: readonly string[]): BootParameters {
  let parameters: BootParameters = {}
  for (const word of words) {
    const splitLock = SPLIT_LOCK.exec(word)
    if (splitLock !== null) parameters = { ...parameters, splitLockDetect: splitLock[1] }
    else if (word === 'strict_sas_size') parameters = { ...parameters, strictSigaltstack: true }
    else {
      throw new UserError({
        code: 'unknown-boot-parameter',
        what: `cannot boot with '${word}'`,
        where: '--boot',
        because: 'the modelled kernel does not know this parameter or value',
        fix: 'known: split_lock_detect=off|warn|fatal|ratelimit:N (N 1 to 1000), strict_sas_size',
      })
    }
  }
  return parameters
}
