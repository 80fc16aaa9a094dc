import { type KernelProfileSummary, kernelProfile, listKernelProfiles } from '../profiles/index.ts'

/** `worldswitch kernels [PROFILE]`: the profiles, or what one of them changes and where that comes from. */
export function kernelsCommand(name: string | undefined, json: boolean): void {
  if (name !== undefined) kernelProfile(name)
  const chosen = listKernelProfiles().filter((profile) => name === undefined || profile.name === name)
  for (const profile of chosen) {
    const lines = json ? [JSON.stringify(profile)] : name === undefined ? [line(profile)] : details(profile)
    process.stdout.write(`${lines.join('\n')}\n`)
  }
}

const line = ({ name, title }: KernelProfileSummary): string => `${name.padEnd(34)}${title}`

function details({ name, title, source, derivedFrom, document, changes, differences }: KernelProfileSummary): string[] {
  return [
    `${name}: ${title}`,
    ...(derivedFrom === null ? [] : [`derived from  ${derivedFrom}`]),
    ...(document === null ? [] : [`document      ${document}`]),
    `rules         ${source}`,
    ...(changes.length === 0 ? [] : ['changes', ...changes.map((change) => `  ${change}`)]),
    ...(differences.length === 0 ? [] : ['in its data']),
    ...differences.map(
      ({ question, before, after }) => `  ${question}: ${answer(question, before)} -> ${answer(question, after)}`,
    ),
  ]
}

/** Masks are easier to read in hexadecimal. */
const MASKS = new Set(['userSupported', 'userDynamic', 'supervisorSupported', 'guestOnlySupervisor', 'supportedXss', 'neededXss'])
function answer(question: string, value: unknown): string {
  const isMask = MASKS.has(question.split('.')[1]) && typeof value === 'number'
  return isMask ? `0x${value.toString(16)}` : JSON.stringify(value)
}
