"""Write prompts.csv: 320 creative prompts of very different lengths, each with its sampling.

    python datasets/generate_prompts.py [--out PATH]

The same file comes out on every run. Most rows ask for a short answer; a few ask for a long one.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

SEED = 20261

# kind: choices of max_tokens with their weights, and the range of the temperature
SAMPLING: dict[str, tuple[dict[int, int], tuple[float, float]]] = {
    "haiku": ({32: 3, 40: 5, 48: 2}, (0.7, 1.2)),
    "story": ({60: 4, 80: 5, 120: 5, 160: 3, 240: 2, 320: 1, 400: 2}, (0.7, 1.2)),
    "summarise": ({40: 4, 60: 5, 80: 3, 100: 1}, (0.0, 0.3)),
    "rewrite": ({48: 4, 64: 5, 96: 3, 128: 1}, (0.2, 0.8)),
    "brainstorm": ({60: 4, 80: 4, 120: 3, 200: 1}, (0.8, 1.2)),
    "dialogue": ({80: 4, 120: 4, 160: 2, 260: 1, 360: 1}, (0.6, 1.1)),
    "explain": ({60: 4, 96: 4, 150: 2, 200: 1}, (0.0, 0.6)),
}
TOP_P = ["0.8", "0.85", "0.9", "0.95", "1.0"]

HAIKU_ASK = [
    "Write a haiku about {}.",
    "A haiku on {}, please.",
    "Compose a quiet haiku about {}.",
    "Capture {} in a haiku.",
    "Can you write me a haiku about {}?",
    "Write a melancholy haiku about {}.",
    "Write a funny haiku about {}.",
    "Give me seventeen syllables on {}.",
    "For a postcard, write a haiku about {}.",
]
HAIKU = """
the first snow of the year
a cat on a warm keyboard
the last train home
rain on a tin roof
an empty playground
the smell of old books
a lighthouse in fog
waiting for a reply
a spider's web at dawn
the sound of a distant saw
cherry blossom on a parked car
a forgotten umbrella
the night shift in a bakery
a river after the flood
moonlight on solar panels
the moment before a storm
a grandfather's pocket watch
frost on the inside of a window
lost luggage
the first cup of coffee
a heron standing still
a broken escalator
summer in a big city
geese flying south
the silence after an argument
a server room at midnight
a paper boat
peeling an orange
low tide
a bicycle left in the rain
the colour of rust
fireflies
a long queue at the post office
an old dog asleep in the sun
the taste of salt
a half-finished crossword
migrating whales
the smell of cut grass
an unanswered phone
tomatoes ripening on a windowsill
a child learning to whistle
the desert at night
steam from a bowl of soup
a moth around a lamp
moving out of a house
a traffic jam at sunset
ivy on a ruined wall
the last day of school
a blackbird on a television aerial
mending a fishing net
a power cut
an apple tree in November
the hum of a refrigerator
a letter found in a drawer
the sea seen from a train
a knot that will not open
church bells across a valley
footprints in wet sand
a debugger and a patient programmer
the space between two stars
a kite stuck in a tree
winter light in the kitchen
a village dance
the end of a good book
a lift full of strangers
a stone warmed by the sun
the queue of tasks that never ends
a nurse on her way home
""".strip().splitlines()

STORY_ASK = [
    "Write a short story about {}.",
    "Tell me a story about {}.",
    "Write the opening of a novel about {}.",
    "Write a story for a five-year-old about {}.",
    "Write a ghost story about {}.",
    "In the style of a fairy tale, tell of {}.",
    "Write a story with a surprising ending about {}.",
    "In the present tense, write one scene of a story about {}.",
]
STORY = """
a lighthouse keeper who receives a letter addressed to the light
two rival bakers who have to share one oven
a girl who finds a door in the back of a library
a robot gardener on an abandoned space station
the last bus driver in a city without streets
a painter who can only paint what is about to happen
a village in which nobody can lie on Tuesdays
an old submarine that dreams of the surface
a postwoman who reads one letter too many
a dragon that collects umbrellas
a boy who trades his shadow for a bicycle
a mountain guide who is afraid of heights
the winter when the clocks all stopped at noon
a detective who solves only cases that no one has reported
a translator between humans and bees
a family that inherits a railway station
a violin that remembers everyone who has played it
a mapmaker who invents an island and then gets a postcard from it
a night watchman in a museum of lost things
two strangers stuck in a cable car
a clockwork fox that wants to see the sea
a cook who is asked to prepare the king's last meal
a lonely satellite that hears an answer at last
a town that votes to get rid of its river
a child who teaches the moon to count
a thief who breaks into houses to repair things
the first day of a ghost in a new house
a ferryman whose passengers never tell him where they come from
a school for retired heroes
a woman who wakes up a day earlier each morning
a lift that stops at a floor that doesn't exist
a snowman who has heard about summer
a chess game played by letter over forty years
a beekeeper on Mars
a tailor who sews pockets for secrets
a storm that asks for shelter
a pair of twins who share one dream
a fisherman who catches a star in his net
a weather forecaster who is always wrong until one morning
a caravan that follows a singing well
an astronaut who plants a lemon tree in orbit
a hotel where every guest has the same name
a shepherd who counts something other than sheep
the dog that ran for mayor
a printing press that prints tomorrow's paper
a diver who finds a piano at the bottom of a lake
an apprentice wizard who is allergic to magic
a message in a bottle that comes back unopened
a knitting club that saves a town
a train that only runs when it is late
a young engineer who must restart a city after a blackout
a grandmother who hides a time machine in the pantry
a parrot that knows the password
the smallest giant in the valley
a border between two countries that moves every night
a radio host who plays songs for one listener
an archaeologist who digs up her own wristwatch
a puppet that refuses to perform
a baker's dozen of very unlucky rolls
""".strip().splitlines()

SUMMARY_ASK = "Summarise the following paragraph: "
PARAGRAPHS = """
Batch inference means that many requests are given to a language model together rather than one
after another. A graphics processor spends most of its time moving the weights of the model from
memory to its arithmetic units, and this costs the same whether one answer is being written or a
hundred. When requests are processed side by side, the cost of each trip through memory is shared,
so that far more words come out per second. The price is paid in waiting: a single request may take
a little longer, because it shares the machine with others. Nobody who leaves a thousand questions
to be answered overnight will mind that. For somebody who is waiting in front of a chat window, on
the other hand, half a second more is easy to notice, and so the same model is often set up quite
differently for the two kinds of work.

Cork is the outer bark of the cork oak, a tree that grows around the western Mediterranean. Workers
cut the bark away by hand with small axes, taking care not to hurt the living layer beneath. The
tree is not felled; it slowly grows a new coat, which can be harvested again after nine years or
so. The first harvest is too uneven for bottle stoppers and is ground up for flooring and
insulation. Only from the third harvest onwards is the material smooth enough for a good wine.

The town council of Marlow Bridge voted on Tuesday to keep the old swimming pool open for another
five years. Engineers had warned that the roof needs repairs, and the mayor had proposed to replace
the building with a car park. More than two thousand residents signed a petition against the plan.
The repairs will be paid for by a small rise in parking fees and by a grant for sports facilities.

Octopuses have three hearts and blue blood. Two of the hearts pump blood through the gills, while
the third sends it around the rest of the body. The blue colour comes from a copper-rich protein
that carries oxygen, where mammals use one that contains iron. About two thirds of an octopus's
nerve cells sit in its arms, so that each arm can taste, touch and move with little help from the
brain. The animals live short lives, often only one or two years, and most females die soon after
their eggs have hatched.

A good loaf of sourdough starts days before it is baked. The starter, a mixture of flour and water
in which wild yeast and bacteria live, has to be fed until it bubbles reliably. It is then mixed
into a dough with more flour, water and salt, and left to rise slowly. The bacteria produce acids
that give the bread its taste and help it to keep for longer.

Tides are caused mainly by the gravity of the Moon. Its pull is a little stronger on the side of
the Earth that faces it and a little weaker on the far side, and this difference stretches the
oceans into two bulges. As the Earth turns, most coasts pass through both, and so see two high
tides a day. The Sun has a similar but smaller effect. When Sun and Moon line up, at new and full
moon, the tides are especially high and low; these are called spring tides, although they have
nothing to do with the season.

The library of a small mountain village has found an unusual way to reach its readers. Every second
week, a donkey named Pilar carries two boxes of books to the farms that can't be reached by car.
The librarian, who walks beside her, takes requests for the next visit and collects what has been
read. Since the service began, the number of borrowed books has tripled. Children in particular
look forward to the visits, although it is not quite clear whether they are waiting for the books
or for the donkey.

Glass is made by melting sand together with soda ash and limestone. The soda lowers the temperature
at which the sand melts, which saves fuel, and the lime keeps the finished glass from dissolving in
water. For windows, the molten glass is poured onto a bath of liquid tin, on which it spreads out
into a perfectly flat sheet. It is then cooled slowly, since glass that cools too fast is full of
hidden stress and may shatter. Broken glass can be melted again any number of times, which makes it
one of the easiest materials to recycle.

Many people believe that they work best when they do several things at once. Experiments suggest
the opposite. When test persons had to switch between two tasks, they needed more time and made
more mistakes than when they finished one before starting the other. Each switch costs a moment in
which the mind must recall where it was and what the rules are. The more complicated the tasks, the
higher the cost. Researchers therefore advise grouping similar work and keeping messages closed for
at least part of the day.

The common swift spends almost its whole life in the air. It eats, drinks, gathers material for its
nest and even sleeps in flight. Young swifts that leave the nest may not land again for two or
three years, until they breed for the first time. Their legs are so short that they struggle to
take off from flat ground, and so they nest in high places such as gaps under roofs.

A bicycle stays upright for several reasons at once. A moving rider steers, mostly without
noticing, into the direction in which the bicycle begins to fall, and thereby brings the wheels
back under the centre of mass. The front fork is built in such a way that the wheel tends to turn
into a lean by itself. The spinning wheels add a small stabilising effect, though experiments with
specially built bicycles have shown that it isn't essential.

The software team of a regional hospital has replaced its paper boards with a simple web page.
Nurses see at a glance which beds are free, which patients are waiting for a test and who is due to
go home. The first version was built in three weeks and covered one ward only. Instead of adding
functions that sounded useful, the developers spent a day every week on the ward and changed what
they saw going wrong. After half a year, the average wait for a bed had fallen by forty minutes,
and the boards in the other wards were taken down as well. The hospital has since published the
program, and two others in the region have begun to use it. Their nurses have asked for changes
too. The team has agreed on one condition: that for each new field on the page, an old one has to
go.

Coffee plants come from the highlands of Ethiopia, where they still grow wild in the shade of
taller trees. Traders carried the beans across the Red Sea to Yemen, and by the fifteenth century
the drink was helping people to stay awake through night prayers. From there coffee houses spread
to Cairo, Istanbul and Venice. They became places in which news was read aloud, business was done
and politics was argued about, which made more than one ruler nervous. Attempts to ban coffee were
made again and again, and none of them lasted for long. In London, merchants and sailors met at the
coffee house of Edward Lloyd in order to insure their ships, and the business that grew out of
these meetings still bears his name.

Sleep is not a single state but a cycle of several. During light sleep the muscles relax and the
heartbeat slows down. Deep sleep follows, in which the body repairs tissue and it is hard to wake
someone. Then the eyes begin to move rapidly behind closed lids, and the sleeper dreams most
vividly. One such cycle takes roughly ninety minutes and is repeated four to six times a night.
Deep sleep is concentrated in the first half, dreams in the second, so that somebody who gets up
two hours early loses mostly dreams.

The harbour of Eastmere was once the busiest on the coast. Ships loaded wool and tin here, and the
quay was so crowded that a boy could cross it without touching the ground. Then the river began to
carry more and more sand into the bay, and by the time dredging machines were invented, trade had
moved elsewhere. Today the harbour is a nature reserve.

Concrete is the most widely used building material in the world. It consists of sand, gravel, water
and cement, and it hardens not by drying but through a chemical reaction between cement and water.
Making cement requires limestone to be heated to about 1,450 degrees Celsius. The heat needs fuel,
and the stone itself gives off carbon dioxide as it changes. Together this accounts for several per
cent of all emissions. Engineers are trying recipes that replace part of the cement with ash, slag
or burnt clay, and builders are learning to use less of it.

Our trial of the four-day week began in March with sixty employees. Everyone worked thirty-two
hours for the same pay, and each team chose for itself which day to take off. Meetings were limited
to half an hour, and two regular ones were dropped for good. After six months, the number of
finished projects was unchanged, sick leave had gone down by a fifth, and nobody had resigned.
Customer service found the change hardest, because calls don't wait until Monday; there the staff
now rotate. The company has decided to carry on for a year before it makes the rule permanent. Two
questions remain open. Some customers would like a fixed person to call on every day, which the
rota cannot offer, and a few colleagues say that they miss the unhurried talks at lunch. Both will
be looked at again in the autumn.

Maps cannot show the round Earth on flat paper without distorting something. The projection that
Gerardus Mercator published in 1569 keeps angles correct, so that a sailor can draw a course as a
straight line. The price is size: lands far from the equator look much larger than they are.
Greenland seems to rival Africa, although Africa is about fourteen times as large. Other
projections keep areas right but bend the shapes. Which one is best depends on the purpose, and a
good atlas uses several.

Honeybees tell each other where to find food by dancing. A returning bee runs in a straight line
across the comb while shaking her body, circles back, and repeats the run many times. The angle of
the line to the vertical shows the direction of the flowers relative to the sun, and the length of
the run shows how far away they are.

The city of Varnholm has turned forty of its bus stops into tiny gardens. Their roofs carry a layer
of soil planted with stonecrop and herbs, which soak up rain that would otherwise run into the
drains. On hot days the space beneath is several degrees cooler than at ordinary stops. The plants
need little care, and are watered only in long dry spells. A survey of passengers found that the
thing they liked best had not been planned at all: the stops now hum with bees.

Chess computers were long weaker than the best human players. In 1997 a machine named Deep Blue
beat the world champion Garry Kasparov in a match of six games, an event reported around the world.
It relied on sheer speed and on rules written by experts. Twenty years later, a program that had
learned chess only by playing against itself outdid the best of its predecessors after some hours
of training. Human chess did not die out. More people play than ever, and most of them use the
machines to learn.

When volcanoes erupt beneath the sea, the lava meets cold water and its surface freezes at once.
The liquid inside breaks through the crust, swells out and freezes again, and so piles up into
rounded lumps known as pillow lava. Geologists who find such lumps in a mountain range know that
the rock was formed under water, however far away the coast may be today.

The museum asks visitors not to touch the paintings, and it has good reasons. Even clean hands
leave traces of grease and acid, which attract dust and slowly eat into varnish. A single touch
can't be seen, but ten thousand of them can. To let people feel something all the same, the
education team has built copies of six well-known works in relief. Blind visitors can follow the
outlines with their fingers, while a recording explains what they have found. The copies have
turned out to be popular with sighted visitors too, above all with those under ten.

Antibiotics kill bacteria or stop them from growing, but they do nothing against viruses. Taking
them for a cold is therefore useless, and it does harm as well. Each treatment kills the bacteria
that are sensitive and spares those that happen to resist, which then have room to multiply. Over
the years, several common drugs have lost much of their power in this way. Doctors are urged to
prescribe antibiotics only when they are needed, and patients to take them exactly as directed and
not to keep leftovers for the next illness.

Early photographs required patience. To make the first lasting picture from nature, in the 1820s,
Joseph Nicéphore Niépce left a coated plate in his camera for many hours or even days. The
daguerreotype of 1839 cut this to minutes, and portraits became possible, though the sitter's head
was often held in place by a hidden clamp. This is one reason why people in old pictures so rarely
smile: no one can hold a natural smile for that long.

The village of Oberlauf makes its own electricity. A small turbine in the stream covers the demand
of the winter months, when there is little sun but plenty of water. In summer the stream runs low,
and solar panels on the barn roofs take over. Each household owns a share in the cooperative that
built the plant and receives a small payment every year. There have been setbacks: in the second
winter, ice blocked the inlet for nine days, and the village had to buy expensive power from
outside. A heated grid now keeps the inlet open.

Salt was once so valuable that it shaped roads, cities and laws. It preserved meat and fish through
the winter, and every household and every herd needed it. Salzburg owes both its name and its
wealth to nearby mines. In France an unpopular tax on salt, the gabelle, helped to feed the anger
that led to the revolution. In 1930 Mahatma Gandhi walked almost four hundred kilometres to the sea
in order to make salt by hand, against British law. Today salt costs next to nothing, and most
people are advised to eat less of it.

A study of city traffic looked at what happens when a road is closed for good. The authors compared
seventy cases in eleven countries. Planners had usually expected the cars to crowd into the streets
nearby. In most cases, part of the traffic simply vanished: people combined trips, left at a
different hour, took the train or shopped closer to home.

Penguins drink sea water. A gland above each eye filters the salt out of their blood and produces a
concentrated brine, which drips from the tip of the bill. The birds then shake their heads to get
rid of it. Gulls and albatrosses have similar glands. Without them, seabirds would have to carry
fresh water or return to land to drink, and could never cross whole oceans. In zoos that keep
penguins in fresh water, the glands shrink, and keepers sometimes add a little salt to the fish to
keep them working.

The night train from Brenn to the coast has been saved by its passengers. When the railway
announced its end, a group of students began to sell reservations for it a year in advance. Within
four weeks they had filled two thirds of the beds for the summer. The railway agreed to continue on
weekends. To cut costs, the old dining car was replaced by a kiosk, and bed linen is now handed out
rather than laid.

Paper money was first used in China. Merchants found strings of copper coins too heavy for long
journeys and left them with trusted shops, which gave them receipts. In time the receipts
themselves passed from hand to hand. In the eleventh century the government took over the business
in the province of Sichuan and printed notes of its own. Travellers from Europe were astonished to
see people accept paper for silk and silver. They also saw the danger: when too many notes were
printed, prices rose and confidence fell.

Learning a word once is rarely enough. Memory fades quickly in the first days and more slowly
later, so that a review is most useful just before the word would be forgotten. Flash-card programs
make use of this. A card that was answered correctly comes back after a few days, then after some
weeks, then after months; one that was missed returns at once.

The bridge over the Tarn valley was closed for the third time this year after sensors reported
unusual movement in one of its cables. Inspectors found no crack, only a loose clamp that had made
the instrument shake. The operator has apologised for the long detours. It says that the limit at
which the alarm goes off was set too low when the system was installed, and that it will be raised
only after an independent review. Until then, the bridge stays open for cars, while lorries over
twenty tonnes are sent through the old road by the mill.

A rainbow appears when sunlight falls on drops of water and the observer stands with the sun
behind. Light enters each drop, is bent, is reflected from the back, and is bent again as it
leaves. Since each colour is bent by a slightly different amount, white light fans out into a band.
Red appears at the outer edge and violet at the inner one. Sometimes a second, fainter bow is
visible above the first, with its colours reversed, because the light inside the drops has been
reflected twice. No two people see exactly the same rainbow.

Bamboo is a grass, although some kinds grow as tall as a house of ten floors. A shoot comes out of
the ground with its final thickness and does all of its growing in a single season, in a few cases
by almost a metre a day. It then hardens for several years before it is cut. Since the roots
survive, no new planting is needed. Bamboo is light and strong, and it has been used for
scaffolding, bridges, paper and musical instruments. Many species flower only once in decades, all
plants at nearly the same time, and die afterwards.

Every spring the volunteers of the Lindow valley carry toads across the road. The animals spend the
winter in the forest and want to reach the pond in which they were born, and the road lies in
between. A low fence stops them and leads them to buckets sunk in the ground. Before dawn, somebody
counts the toads and takes them to the other side.

Open-source software is written in public. Anyone may read the code, use it, change it and pass it
on, within the terms of its licence. Some projects are kept alive by large companies, others by a
single person on evenings and weekends. This can be fragile. More than once, a tiny component that
thousands of programs relied on was found to have a serious flaw, and its only maintainer had long
been overworked. Foundations and firms have begun to pay for the care of such components. Money
helps, say maintainers, but a second pair of eyes helps even more.

The planet Venus is covered by thick clouds of sulphuric acid, and its air consists mostly of
carbon dioxide. The gas lets sunlight in but holds the heat back, so that the ground is at about
465 degrees Celsius, hot enough to melt lead. The pressure is about ninety times that on Earth.
Probes that have landed there worked for about two hours at most. Venus also turns very slowly and
backwards: the Sun rises in the west, and a day lasts longer than a year. Scientists study it in
order to learn how two planets of nearly the same size could become so different.

Ticket prices at the open-air theatre will not go up this season, although the two rainy summers
before have left it short of money. Instead, the management has bought four hundred second-hand
ponchos, which will be lent to the audience free of charge. In the past, a third of all
performances were called off when the forecast was bad, often for a shower of ten minutes. From now
on, only thunder and storm will stop the show. The actors were asked first and agreed by a large
majority, on the condition that the wooden floor gets a rougher surface.

The metre was meant to belong to everyone. In the 1790s, French scholars defined it as one ten
millionth of the distance from the North Pole to the equator, and two astronomers spent years
measuring a part of that line from Dunkirk to Barcelona. A small error crept in, and the metre came
out about a fifth of a millimetre too short. By then, it had been cast in platinum and copied.
Later it was defined by the wavelength of a lamp. Since 1983 it has been the distance that light
travels in a vacuum in a tiny, exactly fixed fraction of a second, so that any good laboratory can
reproduce it.

Good soil is alive. A spoonful holds more bacteria than there are people on Earth, along with
fungi, mites and worms. They break down dead leaves and release the minerals that roots can take
up. Their tunnels let in air and water, and the sticky substances that they produce hold the crumbs
together, so that the soil isn't washed away by heavy rain. Deep ploughing tears these structures
apart. Many farmers have therefore begun to plough less, to keep the ground covered all year, and
to change crops more often. Yields may drop at first and often recover after a few seasons. What
helps most in the long run is humus, the dark remainder of plants that rots very slowly. It holds
several times its own weight in water, and a field that is rich in it can get through a dry month
that would ruin its neighbour.

The orchestra of the Halden valley has no conductor. Its thirty players agree on tempo and
expression in rehearsals, which take twice as long as elsewhere and are often loud. In concert they
watch each other: the strings breathe together, and the first oboe gives the start with a nod.
Critics were sceptical at first. They now praise how closely the musicians listen, and how fresh
well-known pieces sound when nobody has decided beforehand how they must be played. The method has
its limits. Works that change tempo in every bar have been given up after a few attempts, and for
operas the orchestra still hires a guest.
"""

STIFF_ASK = [
    "Rewrite this text in a friendlier tone: {}",
    "Rewrite the following in very simple words: {}",
    "Rewrite this as a pirate would say it: {}",
    "Say this in as few words as you can: {}",
    "Rewrite this for a ten-year-old: {}",
]
STIFF = """
Your request has been received and will be processed in the order in which it arrived.
Tenants are reminded that the storage of bicycles in the stairwell is strictly prohibited.
We regret to inform you that your application was not successful on this occasion.
Please find attached the revised version of the document for your kind perusal.
Failure to return the form by the stated date will result in the loss of your deposit.
Notwithstanding the foregoing, either party may terminate this agreement on thirty days' notice.
The museum opens at ten, and the last visitors are let in at half past four.
The patient should refrain from strenuous activity for a period of two weeks.
Due to works on the line, trains will not stop at this station until further notice.
Users who do not accept the updated terms will be unable to continue using the service.
Customers are kindly asked to have their membership card ready when approaching the desk.
Batteries must be removed prior to disposal and deposited in the containers provided.
In the event of rain, the concert will take place in the gymnasium of the school.
The quarterly figures indicate a moderate decline in demand across all product categories.
The committee has resolved to postpone the decision until all members are present.
Kindly note that the lift is reserved for goods between six and eight in the morning.
""".strip().splitlines()

PLAIN_ASK = [
    "Make this sound more formal: {}",
    "Rewrite the following in the style of a Victorian letter: {}",
    "Turn this into the headline of a newspaper: {}",
    "Rewrite this more dramatically: {}",
    "Rewrite this as a short, polite email: {}",
]
PLAIN = """
The meeting has been moved to Thursday because the projector is broken again.
Hey, the report is late again and I have no idea why. Can someone look at it?
The cake was dry, the coffee was cold and the waiter forgot us twice.
He closed the shop, counted the money, and walked home through the snow without his hat.
My flight was cancelled and I spent the night on the floor next to a vending machine.
The new version fixes a bug that made the app forget your settings after every restart.
I can't come to the party because my cat is ill and my car won't start.
Our printer only works when you hit it gently on the left side.
Somebody has been eating my yoghurt, although my name is written on it.
The soup needs more salt, less time on the stove and a completely different cook.
She found the key under the mat, exactly where the letter had said it would be.
The weekend will be mostly dry, with a few showers in the west and a cold wind on Sunday.
I have read your essay. The idea is good, but I got lost on the second page.
The hikers missed the last cable car and had to walk down four hours in the dark.
We tested the boat on the lake, and it sank slowly but with great dignity.
Nobody told me that the deadline was today, and now I have to work all night.
You left the window open, and a pigeon has moved into the office.
This chair is uncomfortable, ugly and far too expensive, but my grandmother loved it.
The recipe says to wait an hour. I waited ten minutes and regretted it.
The river rose overnight, and by breakfast the garden chairs were floating past the church.
""".strip().splitlines()

BRAINSTORM_ASK = [
    "Brainstorm five ideas for {}.",
    "Give me ten ideas for {}.",
    "I need a few unusual ideas for {}. What comes to mind?",
    "List three cheap and three expensive ideas for {}.",
    "What are some creative ideas for {}?",
]
BRAINSTORM = """
a rainy Sunday with two small children
the name of a coffee shop next to a railway station
using up a whole crate of apples
a farewell gift for a colleague who loves birds
making a school corridor less dull
a team event that isn't bowling
getting neighbours to talk to each other
the title of a podcast about forgotten inventions
a science fair project with magnets
reusing empty jam jars
a shop window in January
a slogan for a bicycle repair shop
saving water in a shared flat
a birthday surprise over a video call
a mural on the wall of a fire station
getting teenagers to read poetry
a costume made of cardboard
a picnic in winter
the first page of a personal website
a board game about gardening
raising money for a new playground
a sign that politely asks people to close the door
a weekend trip without a car
shortening a meeting that always runs over
a menu in which every dish is green
the name of a friendly robot vacuum
teaching fractions with food
a museum of everyday sounds
thanking volunteers on a small budget
decorating a balcony of two square metres
a treasure hunt in a supermarket
a story that takes place in one lift
a newsletter that people actually open
making a long car journey bearable
a new tradition for New Year's Eve
turning an old phone box into something useful
a talk on statistics that nobody will forget
keeping a hamster entertained
a playlist for cleaning the kitchen
a logo for a choir of engineers
""".strip().splitlines()

DIALOGUE_ASK = [
    "Write a dialogue between {}.",
    "Write a funny conversation between {}.",
    "Imagine a conversation between {}. Write it down.",
    "Write a short scene with only dialogue, between {}.",
]
DIALOGUE = """
a tired barista and a customer who can't decide
the Sun and the Moon during an eclipse
a time traveller and a ticket inspector
two penguins looking at a cruise ship
a chef and a fussy food critic
a lost tourist and an old fisherman
a teacher and a pupil whose homework was eaten by a printer
a compiler and a beginner
a knight and a dragon who has become a vegetarian
two astronauts who both want the window seat
a librarian and a ghost with an overdue book
a doctor and a patient who has looked everything up
a landlord and the family of mice under the floor
a salesman of umbrellas and a farmer in a drought
a detective and a parrot, the only witness
a grandmother and her new smart speaker
the last two biscuits in a tin
a bus driver and a passenger who has missed his stop for years
a river and a bridge
an actor and a prompter who has fallen asleep
two rival wizards in a queue
a robot at a job interview and a nervous manager
a snail and a racing driver
a mother and a son who wants to keep a crocodile
a tailor and an invisible man
a chess piece and the hand that moves it
a mayor and a reporter after the fountain turned pink
two umbrellas left on a train
a night nurse and a patient who can't sleep
a mountaineer and the voice on the radio
""".strip().splitlines()

EXPLAIN_ASK = [
    "Explain to a ten-year-old {}.",
    "In two sentences, explain {}.",
    "Using a comparison from the kitchen, explain {}.",
    "I have never understood it: can you explain {}?",
]
EXPLAIN = """
why the sea is salty
how a refrigerator gets cold
what an interest rate is
how a search engine finds pages
what inflation means
why we have time zones
how a key opens a lock
what an algorithm is
how a bill becomes a law
why bread goes stale
how a rocket works in empty space
what a blockchain is
how glasses correct eyesight
why cats land on their feet
how a lift knows where to stop
what a neural network does
how yeast makes dough rise
why some people are left-handed
how a lock on a canal works
what the difference between a mean and a median is
why mirrors seem to swap left and right
how an insurance company makes money
what probability means
how a vaccine trains the body
what happens when a language model answers several questions at once
""".strip().splitlines()


def paragraphs() -> list[str]:
    """Return the paragraphs, each as one line."""
    return [" ".join(block.split()) for block in PARAGRAPHS.strip().split("\n\n")]


def composed(asks: list[str], things: list[str]) -> Iterator[str]:
    """Yield one prompt for each thing, with the phrases taking turns."""
    for ask, thing in zip(cycle(asks), things, strict=False):
        yield ask.format(thing)


def build() -> list[list[str]]:
    """Return all rows as [kind, prompt, max_tokens, temperature, top_p], the fixed ones first.

    Raises ValueError if two prompts are the same.
    """
    rng = random.Random(SEED)
    summaries = [SUMMARY_ASK + text for text in paragraphs()]
    first = [
        ("haiku", "Write a haiku about artificial intelligence."),
        ("story", "Write a short story about a journey through space."),
        ("summarise", summaries[0]),
    ]
    # Some texts come back with a second style: same words in, different words out.
    rest = [
        *(("haiku", prompt) for prompt in composed(HAIKU_ASK, HAIKU)),
        *(("story", prompt) for prompt in composed(STORY_ASK, STORY)),
        *(("summarise", prompt) for prompt in summaries[1:]),
        *(("rewrite", prompt) for prompt in composed(STIFF_ASK, STIFF)),
        *(("rewrite", prompt) for prompt in composed(STIFF_ASK[2:], STIFF[:9])),
        *(("rewrite", prompt) for prompt in composed(PLAIN_ASK, PLAIN)),
        *(("rewrite", prompt) for prompt in composed(PLAIN_ASK[2:], PLAIN[:9])),
        *(("brainstorm", prompt) for prompt in composed(BRAINSTORM_ASK, BRAINSTORM)),
        *(("dialogue", prompt) for prompt in composed(DIALOGUE_ASK, DIALOGUE)),
        *(("explain", prompt) for prompt in composed(EXPLAIN_ASK, EXPLAIN)),
    ]
    rng.shuffle(rest)
    rows = []
    for kind, prompt in [*first, *rest]:
        tokens, (low, high) = SAMPLING[kind]
        (max_tokens,) = rng.choices(list(tokens), weights=list(tokens.values()))
        temperature = rng.randint(round(low * 10), round(high * 10)) / 10
        rows.append([kind, prompt, str(max_tokens), str(temperature), rng.choice(TOP_P)])
    if len({row[1].casefold() for row in rows}) != len(rows):
        raise ValueError("two prompts are the same")
    return rows


def main() -> None:
    """Write the CSV (UTF-8, LF line ends)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("prompts.csv"))
    out = parser.parse_args().out
    rows = build()
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "kind", "prompt", "max_tokens", "temperature", "top_p"])
    writer.writerows([i, *row] for i, row in enumerate(rows))
    out.write_bytes(text.getvalue().encode("utf-8"))
    print(f"{len(rows)} prompts written to {out}")


if __name__ == "__main__":
    main()
