import { kernelProfile, kernelProfiles } from '../../profiles/index.ts'
import type { KernelProfile } from '../../profiles/kernel-profile.ts'
import * as releases from '../../profiles/releases.ts'
import type { Setting } from './observe.ts'

/** Processors that differ: with split-lock detection, with only the bus-lock debug exception, with neither. */
export const PROCESSORS = ['SapphireRapids', 'SapphireRapids,-core-capability', 'EPYC-Milan'] as const
export const MODES = ['off', 'warn', 'fatal', 'ratelimit:10'] as const

const RELEASES: ReadonlySet<KernelProfile> = new Set(Object.values(releases))

/** Profiles that answer every question about split locks alike; one of them stands for all. */
export interface KernelClass {
  readonly names: readonly string[]
  readonly profile: KernelProfile
}

/** Releases, and proposals that are about split locks; or the one profile asked for. @throws UserError for an unknown name */
export function kernelClasses(only?: string): KernelClass[] {
  if (only !== undefined) return [{ names: [only], profile: kernelProfile(only) }]
  const classes = new Map<string, { names: string[]; profile: KernelProfile }>()
  for (const profile of kernelProfiles) {
    const answers = JSON.stringify(profile.splitLock)
    const alike = classes.get(answers)
    if (alike === undefined) classes.set(answers, { names: [profile.name], profile })
    else if (RELEASES.has(profile)) {
      alike.names.push(profile.name)
      alike.profile = profile
    }
  }
  return [...classes.values()]
}

/** Every setting of one kernel on one processor in one mode. */
export function settingsOf({ profile }: KernelClass, cpu: string, mode: string): Setting[] {
  const { hasMitigateSysctl, guestVirtualization } = profile.splitLock
  const plain: Setting = {
    cpu,
    kernel: profile.name,
    mode,
    mitigate: hasMitigateSysctl ? true : null,
    guestDetects: false,
    busLockExit: false,
  }
  // What the rest changes can be seen only where split locks can be detected.
  if (cpu !== PROCESSORS[0]) return [plain]
  const settings = [plain]
  if (guestVirtualization !== 'none') settings.push({ ...plain, guestDetects: true })
  else if (mode === 'off') settings.push({ ...plain, busLockExit: true })
  return hasMitigateSysctl ? settings.flatMap((setting) => [setting, { ...setting, mitigate: false }]) : settings
}
